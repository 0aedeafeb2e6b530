"""Fixtures shared by the tests: the installed command, the two bundles, real photos."""

from __future__ import annotations

import gzip
import itertools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from capcli import Captioner
from capcli.bundle.bundle import MATCHING, describe_file, read_bundle, write_manifest
from capcli.bundle.confidence import Confidence, SignalWeight
from capcli.bundle.matching import FILE
from capcli.decoding.signals import MATCH
from capcli.training.config import DataSource, TrainConfig
from tests.shape_matching import shape_matching
from tests.shapes import write_data_set
from tests.warm_start import WarmCommand

if TYPE_CHECKING:
    from playwright.sync_api import Browser

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background has Ctrl-C ignored, here and in all that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
TESTS = Path(__file__).parent
TINY_BUNDLE = TESTS / "tiny_bundle"
_STATE = tempfile.TemporaryDirectory(prefix="capcli-state-")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="fail if any test is skipped")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.config.getoption("--no-skips") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and --no-skips was given: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.outcome == "skipped" and collector.config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and --no-skips was given: {report.longrepr}"
    return report


@dataclass(frozen=True)
class Finished:
    """How a command ended: exit code and the bytes it printed."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode("utf-8")

    @property
    def errors(self) -> str:
        return self.err.decode("utf-8", "surrogateescape")


RunCommand = Callable[..., Finished]


def command() -> Path:
    """The installed `capcli` script of the environment that runs the tests."""
    name = "capcli.exe" if os.name == "nt" else "capcli"
    path = Path(sysconfig.get_path("scripts")) / name
    assert path.is_file(), f"capcli is not installed beside {sys.executable}: run pip install '.[test]'"
    return path


def environment(**extra: str) -> dict[str, str]:
    """The tests' own environment without what would change capcli's behaviour."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CAPCLI_", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTEST_"))
    }
    # What capcli remembers of output files is no business of the user who runs the tests.
    return {**kept, "XDG_STATE_HOME": _STATE.name, **extra}


@pytest.fixture(scope="session")
def capcli() -> Generator[RunCommand]:
    """Runs the installed command to its end: capcli("caption", photo, cwd=..., stdin=b"...")."""
    warm = WarmCommand(command(), environment()) if sys.platform == "linux" else None

    def run(
        *arguments: str | os.PathLike[str] | bytes,
        cwd: Path | None = None,
        stdin: bytes | None = None,
        env: dict[str, str] | None = None,
        timeout: float = 300,
        killed_when: Callable[[], bool] | None = None,
    ) -> Finished:
        if warm is not None and not env:
            given = [os.fsencode(each) for each in arguments]
            return Finished(
                *warm.run(given, environment(), cwd=cwd, stdin=stdin, timeout=timeout, killed_when=killed_when)
            )
        assert killed_when is None, "only what is started warm is killed"
        done = subprocess.run(
            [command(), *arguments],
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env=environment(**(env or {})),
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    yield run
    if warm is not None:
        warm.close()


@pytest.fixture(scope="session")
def tiny() -> Path:
    """A real bundle small enough to caption by the thousand (tests/make_tiny_bundle.py)."""
    return TINY_BUNDLE


@pytest.fixture(scope="session")
def sure(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with a confidence: above a half where it sees a shape, below where it sees noise."""
    folder = tmp_path_factory.mktemp("sure") / "tiny"
    shutil.copytree(tiny, folder)
    bundle = read_bundle(folder)
    search = bundle.manifest.search
    confidence = Confidence(
        {"mean_log_prob": SignalWeight(1.0, -0.1, 0.05), "mean_entropy": SignalWeight(-4.0, 0.16, 0.04)},
        intercept=0.5,
        photos=300,
        weights=bundle.fingerprint,
        beam=search.beam,
        max_length=search.max_length,
        length_penalty=search.length_penalty,
    )
    write_manifest(folder, replace(bundle.manifest, confidence=confidence))
    return folder


@pytest.fixture(scope="session")
def matched(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with a matching score, and a confidence that is made of that alone."""
    folder = tmp_path_factory.mktemp("matched") / "tiny"
    shutil.copytree(tiny, folder)
    plain = read_bundle(folder)
    shape_matching(plain).save(folder / FILE)
    files = {**plain.manifest.files, MATCHING: describe_file(folder, FILE)}
    bundle = replace(plain, manifest=replace(plain.manifest, files=files))
    search = bundle.manifest.search
    confidence = Confidence(
        {MATCH: SignalWeight(3.0, 7.0, 1.0)},
        intercept=0.0,
        photos=300,
        weights=bundle.fingerprint,
        beam=search.beam,
        max_length=search.max_length,
        length_penalty=search.length_penalty,
        matching=bundle.matching_fingerprint,
        lowest=0.05,
        highest=0.95,
    )
    write_manifest(folder, replace(bundle.manifest, confidence=confidence))
    return folder


def need_scorers() -> str:
    """Skips the test where the official scorers cannot run; gives the path of `java`."""
    pytest.importorskip("pycocoevalcap", reason="needs the eval extra")
    java = shutil.which("java")
    if java is None:
        pytest.skip("needs Java")
    return java


@pytest.fixture(scope="session")
def java_of_quick_meteor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `java` whose METEOR has a thousand of its millions of paraphrases: 1 s to start, not 15."""
    java = need_scorers()
    from pycocoevalcap.meteor import meteor

    if os.name == "nt":
        return Path(java).parent
    folder, jar = tmp_path_factory.mktemp("meteor"), Path(meteor.__file__).with_name(meteor.METEOR_JAR)
    # METEOR looks for its paraphrases beside its program.
    shutil.copy(jar, folder)
    (folder / "data").mkdir()
    with (
        gzip.open(jar.with_name("data") / "paraphrase-en.gz", "rb") as every,
        gzip.open(folder / "data" / "paraphrase-en.gz", "wb") as few,
    ):
        # A probability and two phrases each.
        few.writelines(itertools.islice(every, 3000))
    script = folder / "java"
    # The command is: java -jar -Xmx2G meteor-1.5.jar ...
    script.write_text(
        "#!/bin/sh\n"
        f'[ "$3" = {jar.name} ] || exec {shlex.quote(java)} "$@"\n'
        f'shift 3; exec {shlex.quote(java)} -Xmx2G -jar {shlex.quote(str(folder / jar.name))} "$@"\n'
    )
    script.chmod(0o755)
    return folder


@pytest.fixture
def quick_meteor(java_of_quick_meteor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR with few paraphrases, here and in what is started; the test is skipped where there is no METEOR."""
    monkeypatch.setenv("PATH", f"{java_of_quick_meteor}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="session")
def captioner(tiny: Path) -> Captioner:
    """Of the tiny bundle."""
    return Captioner(tiny, provider="cpu")


@pytest.fixture
def no_memory_of_other_runs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process remember nothing of others, and are not remembered."""
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp("state")))


@dataclass(frozen=True)
class ExportedRun:
    """A small run and the bundle that was made of it: to be read, and copied by whoever changes them.

    `images` is the folder of its data set, `notes` what the export had to say.
    """

    images: Path
    run: Path
    bundle: Path
    notes: tuple[str, ...]


def small_run(shapes: Path) -> TrainConfig:
    """Two epochs over a data set that `write_data_set` made, with a little decoder on the tiny bundle's encoder."""
    return TrainConfig(
        data=(DataSource(str(shapes / "images"), str(shapes / "captions.csv")),),
        encoder=str(TINY_BUNDLE),
        input_size=64,
        hidden=32,
        embedding=16,
        attention=16,
        min_count=1,
        epochs=2,
        batch_size=8,
        warmup=4,
        val=0.2,
        threads=1,
        precision="float32",
        max_length=12,
    )


# 13 February 2009: the day of the export, for the same bytes on any day.
EXPORT_TIME = "1234567890"


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedRun:
    """A run of two epochs over the tiny bundle's encoder, exported over an older bundle."""
    pytest.importorskip("torch", reason="needs the train extra")
    pytest.importorskip("pycocoevalcap", reason="needs the train extra")
    from capcli.training.export import ExportOptions, export_runs
    from capcli.training.progress import TrainingListener
    from capcli.training.run import train

    folder = tmp_path_factory.mktemp("exported")
    write_data_set(folder / "shapes", copies=2, size=64)
    images = folder / "shapes" / "images"
    config = replace(small_run(folder / "shapes"), beam=2, length_penalty=0.3)
    train(config, folder / "run", cache=folder / "cache", listener=TrainingListener())
    shutil.copytree(TINY_BUNDLE, folder / "bundles" / "bundle")
    (folder / "bundles" / "bundle" / "old").write_text("x")
    notes: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EXPORT_TIME)
        export_runs(
            [folder / "run"],
            folder / "bundles" / "bundle",
            # What the proof compares; int8 is for tests/training/test_export_int8.py.
            ExportOptions(name="small", precision="float32"),
            overwrite=True,
            note=notes.append,
        )
    return ExportedRun(images, folder / "run", folder / "bundles" / "bundle", tuple(notes))


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Chromium, started once for the tests of a file."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium")
    with sync_api.sync_playwright() as playwright:
        # Root, as in a container, has no sandbox.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def python(code: str, *arguments: str, **env: str) -> Finished:
    """Runs a few lines in a fresh interpreter of the same environment."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        env=environment(**env),
        timeout=120,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)
