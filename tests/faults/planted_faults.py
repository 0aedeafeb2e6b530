"""Plants single faults in the package and shows which of them no test sees.

    python -m tests.faults.planted_faults [NAME...]

Each fault is a change of one text, planted in a copy of the package; quick tests are run on that copy and have to
fail. A name is that of an area (training, decoding, ...) or a section, or a part of a fault's. Ends with 1 if a fault
survives, with 2 if a text to replace is gone or is there twice, or if the tests fail without a fault. Needs
what the tests need, on Linux or macOS.
"""

from __future__ import annotations

import compileall
import contextlib
import gc
import importlib
import math
import os
import py_compile
import shutil
import signal
import sys
import sysconfig
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults import decoding, inputs, model, photos, rows, runs, training
from tests.faults.fault import Area, Fault

ROOT = Path(__file__).resolve().parents[2]
AREAS = {
    "decoding": decoding.AREA,
    "model": model.AREA,
    "inputs": inputs.AREA,
    "rows": rows.AREA,
    "photos": photos.AREA,
    "runs": runs.AREA,
    "training": training.AREA,
}
# What a test that waits for something for ever is given; no file of tests takes a third of it.
_LONGEST_S = 240
# No plugins but the one that the tests use: loading those of all that is installed takes longer than most tests.
_PYTEST = ("-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin")


class MisplacedFaultError(Exception):
    """The text to replace is not in exactly one place."""


def plant(area: Area, fault: Fault, root: Path) -> tuple[Path, str]:
    """Replaces the fault's text below `root`.

    Returns:
        The file and what it held before.
    Raises:
        MisplacedFaultError: the text is in no place or in several.
    """
    files = [
        file for room in area.rooms for file in ([root / room] if room.endswith(".py") else (root / room).rglob("*.py"))
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
    # The installed command of the copy.
    script = folder / "scripts" / "capcli"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(folder)!r})\nfrom capcli.cli import main\nmain()\n"
    )
    script.chmod(0o755)
    # Compiled once; a file that a fault is planted in is told by its content, however soon after the last one.
    for name in ("capcli", "tests"):
        compileall.compile_dir(folder / name, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    return folder


def pytest_fails(root: Path, tests: list[str], longest_s: float = math.inf) -> tuple[int, str]:
    """Runs tests on a copy, in a child of this process that has PyTorch loaded already.

    Returns:
        pytest's exit code, -9 after too long a time, and the end of what it printed.
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
            # Not the installed package.
            sys.path[:0] = [str(root)]
            # This file's own package is the original's; the copy's tests are in one of the same name.
            for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
                del sys.modules[name]
            paths, scripts = sysconfig.get_path, str(root / "scripts")
            sysconfig.get_path = lambda name, *more: scripts if name == "scripts" else paths(name, *more)
            capcli = importlib.import_module("capcli")
            assert capcli.__file__ and Path(capcli.__file__).is_relative_to(root), capcli.__file__
            pytest = importlib.import_module("pytest")
            code = int(pytest.main([*_PYTEST, *tests]))
        finally:
            sys.stdout.flush()
            os._exit(code)
    end = time.monotonic() + longest_s
    ended, status = 0, 0
    while not ended:
        time.sleep(0.05)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        ended, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status), "\n".join(printed.read_text("utf-8", "replace").splitlines()[-25:])


def preload() -> None:
    """Loads once what is slow to load, for the children to share; capcli must not be among it."""
    for module in ("torch.utils.data", "PIL.Image", "tokenizers", "onnxruntime", "skimage.data", "pytest"):
        importlib.import_module(module)
    torch, hypothesis = importlib.import_module("torch"), importlib.import_module("hypothesis")
    # The first optimiser loads half of PyTorch's compiler.
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
    # One failure is enough, it need not be the smallest.
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("faults", phases=phases, database=None, deadline=None)
    hypothesis.settings.load_profile("faults")
    assert "capcli" not in sys.modules
    # pytest collects twice as it ends, and PyTorch is much to look through.
    gc.freeze()


def chosen(names: list[str]) -> list[tuple[Area, Fault]]:
    every = [
        ({area_name, section}, area, fault)
        for area_name, area in AREAS.items()
        for section, some in area.sections.items()
        for fault in some
    ]
    known = {place for places, _, _ in every for place in places}
    return [
        (area, fault)
        for places, area, fault in every
        if not names or any(name in places or (name not in known and name in fault.name) for name in names)
    ]


def main(names: list[str]) -> int:
    faults = chosen(names)
    if not faults:
        print(f"no fault, section or area is called {' or '.join(names)}", file=sys.stderr)
        return 2
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    preload()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="capcli-faults-") as folder, ThreadPoolExecutor(2) as pool:
        copies = [copy_to(Path(folder).resolve() / str(number)) for number in range(2)]
        wrong = 0
        for area, fault in faults:
            try:
                file, text = plant(area, fault, copies[0])
                file.write_text(text, "utf-8")
            except MisplacedFaultError as error:
                print(error, file=sys.stderr)
                wrong += 1
        if wrong:
            return 2
        tests = sorted({test for _, fault in faults for test in fault.tests.split()})
        whole = [test for test in tests if "::" in test and test.split("::")[0] in tests]
        code, printed = pytest_fails(copies[0], [test for test in tests if test not in whole])
        if code:
            print(f"the tests fail without a fault:\n{printed}", file=sys.stderr)
            return 2
        print(f"{len(faults)} faults; without one the tests pass, in {time.monotonic() - started:.0f} s", flush=True)

        def survives(area: Area, fault: Fault, copy: Path) -> bool:
            file, text = plant(area, fault, copy)
            code, printed = pytest_fails(copy, fault.tests.split(), _LONGEST_S)
            file.write_text(text, "utf-8")
            # Anything else is no answer: a fault that does not even load, tests that are gone.
            verdicts = {0: "SURVIVES", 1: "caught", -signal.SIGKILL: "caught, by a test that never ends"}
            verdict = verdicts.get(code, f"NO ANSWER (pytest ended with {code})\n{printed}")
            print(f"{verdict}: {fault.name}", flush=True)
            return not verdict.startswith("caught")

        waiting = iter(faults)
        turn = threading.Lock()

        def work(copy: Path) -> list[Fault]:
            found: list[Fault] = []
            while True:
                with turn:
                    area, fault = next(waiting, (None, None))
                if area is None or fault is None:
                    return found
                if survives(area, fault, copy):
                    found.append(fault)

        survivors = [fault for some in pool.map(work, copies) for fault in some]
    print(f"{len(faults) - len(survivors)} of {len(faults)} faults caught in {time.monotonic() - started:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(130)
