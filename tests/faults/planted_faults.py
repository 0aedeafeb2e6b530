"""Plants single faults in training's arithmetic and shows which of them no test sees.

    python -m tests.faults.planted_faults [NAME...]

Each fault is a change of one text, planted in a copy of the package; quick tests are run on that copy and have to
fail. A name is that of a fault or of a section, or a part of it. Ends with 1 if a fault survives, with 2 if a text to
replace is gone or is there twice, or if the tests fail without a fault. Needs what the tests need, on Linux or macOS.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.faults import SECTIONS, Fault

ROOT = Path(__file__).resolve().parents[2]
# Where a fault's text is looked for.
ROOMS = (
    "capcli/dataset",
    "capcli/training",
    "capcli/evaluation",
    "capcli/bundle/tokens.py",
    "capcli/bundle/habits.py",
    "capcli/bundle/matching.py",
    "capcli/outputs/file_lock.py",
)


class MisplacedFaultError(Exception):
    """The text to replace is not in exactly one place."""


def plant(fault: Fault, root: Path) -> tuple[Path, str]:
    """Replaces the fault's text below `root`.

    Returns:
        The file and what it held before.
    Raises:
        MisplacedFaultError: the text is in no place or in several.
    """
    files = [
        file for room in ROOMS for file in ([root / room] if room.endswith(".py") else (root / room).rglob("*.py"))
    ]
    texts = {file: file.read_text("utf-8") for file in sorted(files)}
    places = [(file, text.count(fault.old)) for file, text in texts.items() if fault.old in text]
    if sum(count for _, count in places) != 1:
        where = ", ".join(f"{count} x {file.relative_to(root)}" for file, count in places) or "nowhere"
        raise MisplacedFaultError(
            f"{fault.name}: the text to replace should be in one place, it is in: {where}\n{fault.old}"
        )
    ((file, _),) = places
    file.write_text(texts[file].replace(fault.old, fault.new), "utf-8")
    return file, texts[file]


def copy_to(folder: Path) -> Path:
    """The package and its tests, copied; the shipped bundle stays where it is."""
    for name in ("capcli", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "models").symlink_to(ROOT / "models")
    return folder


def pytest_fails(root: Path, tests: list[str]) -> tuple[int, str]:
    """Runs tests on a copy, in a child of this process that has PyTorch loaded already.

    Returns:
        pytest's exit code, and the end of what it printed.
    """
    printed = root / "printed.txt"
    child = os.fork()
    if child == 0:
        code = 3
        try:
            os.chdir(root)
            with printed.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            # Neither the installed package nor what Python has compiled of another fault.
            sys.dont_write_bytecode = True
            sys.path[:0] = [str(root)]
            # This file's own package is the original's; the copy's tests are in one of the same name.
            for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
                del sys.modules[name]
            capcli = importlib.import_module("capcli")
            assert capcli.__file__ and Path(capcli.__file__).is_relative_to(root), capcli.__file__
            pytest = importlib.import_module("pytest")
            code = int(pytest.main(["-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]))
        finally:
            sys.stdout.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), "\n".join(printed.read_text("utf-8", "replace").splitlines()[-25:])


def preload() -> None:
    """Loads once what is slow to load, for the children to share; capcli must not be among it."""
    for module in ("torch.utils.data", "PIL.Image", "tokenizers", "skimage.data", "pytest"):
        importlib.import_module(module)
    torch, hypothesis = importlib.import_module("torch"), importlib.import_module("hypothesis")
    # The first optimiser loads half of PyTorch's compiler.
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
    # One failure is enough, it need not be the smallest.
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("faults", phases=phases, database=None, deadline=None)
    hypothesis.settings.load_profile("faults")
    assert "capcli" not in sys.modules


def chosen(names: list[str]) -> list[Fault]:
    faults = [(section, fault) for section, some in SECTIONS.items() for fault in some]
    return [fault for section, fault in faults if not names or any(n == section or n in fault.name for n in names)]


def main(names: list[str]) -> int:
    faults = chosen(names)
    if not faults:
        print(f"no fault or section is called {' or '.join(names)}", file=sys.stderr)
        return 2
    os.environ["OMP_NUM_THREADS"] = "1"
    preload()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="capcli-faults-") as folder, ThreadPoolExecutor(2) as pool:
        copies = [copy_to(Path(folder).resolve() / str(number)) for number in range(2)]
        wrong = 0
        for fault in faults:
            try:
                file, text = plant(fault, copies[0])
                file.write_text(text, "utf-8")
            except MisplacedFaultError as error:
                print(error, file=sys.stderr)
                wrong += 1
        if wrong:
            return 2
        tests = sorted({test for fault in faults for test in fault.tests.split()})
        whole = [test for test in tests if "::" in test and test.split("::")[0] in tests]
        code, printed = pytest_fails(copies[0], [test for test in tests if test not in whole])
        if code:
            print(f"the tests fail without a fault:\n{printed}", file=sys.stderr)
            return 2
        print(f"{len(faults)} faults; without one the tests pass, in {time.monotonic() - started:.0f} s", flush=True)

        def survives(fault: Fault, copy: Path) -> bool:
            file, text = plant(fault, copy)
            code, printed = pytest_fails(copy, fault.tests.split())
            file.write_text(text, "utf-8")
            # 1: tests failed. Anything else is no answer: a fault that does not even load, tests that are gone.
            verdict = {0: "SURVIVES", 1: "caught"}.get(code, f"NO ANSWER (pytest ended with {code})\n{printed}")
            print(f"{verdict}: {fault.name}", flush=True)
            return code != 1

        def work(number: int) -> list[Fault]:
            return [fault for fault in faults[number::2] if survives(fault, copies[number])]

        survivors = [fault for some in pool.map(work, range(2)) for fault in some]
    print(f"{len(faults) - len(survivors)} of {len(faults)} faults caught in {time.monotonic() - started:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(130)
