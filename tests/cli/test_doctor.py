"""`capcli doctor` as a user runs it: on a healthy machine, and on machines that are broken in known ways."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from capcli import __version__
from capcli.extras import EXTRAS
from capcli.runtime.cores import available_cores
from tests.conftest import TESTS, Finished, RunCommand, command, environment, python

ROOT = TESTS.parent
WORKS = "A caption can be made here."
FAILS = "No caption can be made here; see what failed."
CAPTION = '"A red circle on a white ground."'


@dataclass(frozen=True)
class Line:
    """One printed check."""

    state: str
    topic: str
    finding: str


def lines_of(done: Finished) -> list[Line]:
    """The printed checks; what is printed must be nothing else, and nothing of Python's."""
    assert done.err == b""
    assert "Traceback" not in done.text
    *checks, last = done.text.splitlines()
    assert last == (WORKS if done.code == 0 else FAILS)
    found = []
    for line in checks:
        # Aligned: state, topic and finding each begin in their own column.
        state, topic, finding = line[:9], line[9:22], line[22:]
        assert state.strip() in ("ok", "warning", "failed") and finding == finding.strip() != ""
        found.append(Line(state.strip(), topic.strip(), finding))
    return found


def only(lines: list[Line], topic: str) -> Line:
    (line,) = (line for line in lines if line.topic == topic)
    return line


def failed(lines: list[Line]) -> dict[str, str]:
    return {line.topic: line.finding for line in lines if line.state == "failed"}


def test_a_healthy_machine_makes_a_caption(capcli: RunCommand, tiny: Path) -> None:
    done = capcli("doctor", "--model", tiny)
    lines = lines_of(done)
    assert done.code == 0
    assert not failed(lines)
    assert only(lines, "capcli").finding.startswith(f"{__version__}, ")
    assert sys.executable.rpartition(os.sep)[0] in only(lines, "python").finding
    for name in ("numpy", "pillow", "tokenizers", "typer", "rich"):
        assert only(lines, name) == Line("ok", name, metadata.version(name))
    assert "onnxruntime" in only(lines, "onnxruntime").finding
    assert only(lines, "cpu").state == "ok"
    assert only(lines, "cores").finding.startswith(f"{available_cores()} for this process")
    assert str(tiny) in only(lines, "model").finding
    assert only(lines, "self-test").finding.startswith(f"{CAPTION} in ")
    assert {line.topic for line in lines} >= {"platform", "cuda", "bundles", "heic", "metadata", "train", "eval"}


def test_the_shipped_model_needs_no_option(capcli: RunCommand) -> None:
    done = capcli("doctor")
    assert done.code == 0
    assert only(lines_of(done), "model").finding.endswith("its files are whole")


def test_the_answer_for_machines_holds_the_same(capcli: RunCommand, tiny: Path) -> None:
    done = capcli("doctor", "--model", tiny, "--provider", "cpu", "--json")
    assert (done.code, done.err, done.text.count("\n")) == (0, b"", 1)
    values = json.loads(done.text)
    printed = lines_of(capcli("doctor", "--model", tiny, "--provider", "cpu"))
    assert values["works"] is True
    assert [(check["state"], check["topic"]) for check in values["checks"]] == [
        (line.state, line.topic) for line in printed
    ]
    (made,) = (check["caption"] for check in values["checks"] if check["caption"] is not None)
    assert (made["text"], made["provider"]) == (CAPTION.strip('"'), "cpu")
    assert 0 < made["caption_seconds"] < 60 and 0 < made["load_seconds"] < 60


def test_cuda_works_or_the_reason_and_a_way_are_told(capcli: RunCommand, tiny: Path) -> None:
    auto, cuda, cpu = (capcli("doctor", "--model", tiny, "--provider", name) for name in ("auto", "cuda", "cpu"))
    assert (auto.code, cpu.code) == (0, 0)
    if cuda.code == 0:
        assert " on cuda, " in only(lines_of(cuda), "self-test").finding
        return
    assert cuda.code == 3
    assert set(failed(lines_of(cuda))) == {"cuda", "self-test"}
    reason = only(lines_of(cuda), "cuda").finding
    assert "; " in reason
    assert only(lines_of(auto), "cuda").finding == f"not used: {reason}"
    assert only(lines_of(cpu), "cuda").state == "ok"


# The command as it is, on a machine where int8 is so fast.
INT8_SPEED = """
import sys
from capcli import cli
from capcli.runtime import int8_speed
int8_speed.measure_int8_speed = lambda provider: int8_speed.Int8Speed(provider, {0}, {0}, {0})
sys.exit(cli.run(["doctor", *sys.argv[1:]]))
"""


def test_where_int8_is_slower_than_float32_a_line_says_so_with_the_way_out(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "int8"
    shutil.copytree(tiny, folder)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**manifest, "precision": {"encoder": "int8"}}), "utf-8")
    options = ("--model", folder, "--provider", "cpu")
    slow, fast = (lines_of(python(INT8_SPEED.format(ratio), *map(str, options))) for ratio in (0.8, 2.7))
    line = only(slow, "int8")
    assert line.state == "warning" and not failed(slow)
    assert line.finding.startswith("0.80 times as fast as float32 on cpu")
    assert f"capcli export {folder} FOLDER --precision float32 --proof-images PHOTOS" in line.finding
    assert only(fast, "int8") == Line("ok", "int8", "2.70 times as fast as float32 on cpu, by a block of layers")


def test_of_a_float32_model_nothing_is_said_of_int8(capcli: RunCommand, tiny: Path) -> None:
    assert "int8" not in {line.topic for line in lines_of(capcli("doctor", "--model", tiny))}


def test_no_such_provider_is_a_wrong_use(capcli: RunCommand) -> None:
    done = capcli("doctor", "--provider", "tpu")
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
    assert "tpu" in done.errors


def flip_a_byte(folder: Path) -> str:
    path = folder / "encoder.onnx"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    return f"{path}: damaged bundle: its sha256"


def lose_a_file(folder: Path) -> str:
    (folder / "tokenizer.json").unlink()
    return f"{folder / 'tokenizer.json'}: damaged bundle"


def newer_manifest(folder: Path) -> str:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "format": 2}), "utf-8")
    return f"{path}: bundle format 2"


def lose_everything(folder: Path) -> str:
    shutil.rmtree(folder)
    return f"{folder}: no such bundle folder; see capcli models list"


@pytest.mark.parametrize("damage", [flip_a_byte, lose_a_file, newer_manifest, lose_everything])
def test_a_damaged_bundle_fails_and_the_rest_is_still_told(
    capcli: RunCommand, tiny: Path, tmp_path: Path, damage: Callable[[Path], str]
) -> None:
    folder = tmp_path / "Mod\u00e8les \u6f22\u5b57" / "a bundle"
    shutil.copytree(tiny, folder)
    message = damage(folder)
    done = capcli("doctor", "--model", folder)
    lines = lines_of(done)
    assert done.code == 3
    assert set(failed(lines)) == {"model", "self-test"}
    for finding in failed(lines).values():
        assert finding.startswith(message) and "; " in finding
    assert only(lines, "cpu").state == "ok"
    values = json.loads(capcli("doctor", "--model", folder, "--json").text)
    assert values["works"] is False
    assert [check["topic"] for check in values["checks"]] == [line.topic for line in lines]


def test_a_graph_that_only_loading_finds_wrong_fails_the_self_test(
    capcli: RunCommand, tiny: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny, folder)
    path = folder / "manifest.json"
    values = json.loads(path.read_text("utf-8"))
    values["graph"]["state"] = ["h1", "c1"]
    path.write_text(json.dumps(values), "utf-8")
    done = capcli("doctor", "--model", folder)
    assert done.code == 3
    assert set(failed(lines_of(done))) == {"self-test"}
    assert str(folder / "decoder.onnx") in only(lines_of(done), "self-test").finding


def test_the_places_of_bundles_and_what_is_in_them_are_told(capcli: RunCommand, tiny: Path, tmp_path: Path) -> None:
    place = tmp_path / "my models"
    shutil.copytree(tiny, place / "tiny")
    (tmp_path / "a file").write_text("no folder")
    env = {
        "CAPCLI_MODELS": os.pathsep.join(map(str, (place, tmp_path / "gone", tmp_path / "a file"))),
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }
    done = capcli("doctor", "--model", "tiny", env=env)
    lines = [line for line in lines_of(done) if line.topic == "bundles"]
    assert done.code == 0
    assert lines[0] == Line("ok", "bundles", f"{place}: tiny")
    for line, name in zip(lines[1:3], ("gone", "a file"), strict=True):
        assert line.state == "warning"
        assert line.finding.startswith(f"{tmp_path / name}: ") and "CAPCLI_MODELS" in line.finding
    # Nobody asked for this one: that it is not there is nothing to warn of.
    assert lines[3].state == "ok" and str(tmp_path / "data") in lines[3].finding
    assert any(line.finding.endswith("models: default") for line in lines[4:])


def test_the_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {
        name: {requirement.partition(">=")[0].partition("[")[0] for requirement in requirements}
        for name, requirements in project["optional-dependencies"].items()
        if name not in ("cuda", "test", "dev", "lint")
    }
    assert {extra.name: set(extra.distributions) for extra in EXTRAS} == declared


def test_torch_is_never_imported(tiny: Path) -> None:
    done = python(
        "import sys, capcli.cli\n"
        "code = capcli.cli.run(['doctor', '--model', sys.argv[1]])\n"
        "print(code, 'torch' in sys.modules, 'onnxruntime' in sys.modules, file=sys.stderr)\n",
        str(tiny),
    )
    assert done.errors == "0 False True\n"


def test_help_loads_nothing_heavy() -> None:
    done = python(
        "import sys, capcli.cli\n"
        "code = capcli.cli.run(['doctor', '-h'])\n"
        "heavy = {'onnxruntime', 'torch', 'numpy', 'PIL', 'tokenizers'}\n"
        "print(code, sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    assert done.errors == "0 []\n"


# On a terminal


@pytest.mark.skipif(os.name == "nt", reason="there are no such terminals there")
@pytest.mark.parametrize(
    ("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)], ids=str
)
def test_a_terminal_gets_colours_unless_it_is_asked_not_to(tiny: Path, env: dict[str, str], coloured: bool) -> None:
    import pty

    clean = {name: value for name, value in environment().items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [command(), "doctor", "--model", str(tiny), "--provider", "cpu"],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        env={**clean, "TERM": "xterm-256color", "COLUMNS": "40", **env},
    )
    os.close(theirs)
    printed = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            # How Linux says that the other end was closed.
            break
        if not part:
            break
        printed += part
    os.close(ours)
    assert process.wait() == 0
    assert (b"\x1b[32mok" in printed) is coloured
    assert (b"\x1b" in printed) is coloured
    # No line is folded, however narrow the terminal: what is copied from it stays whole.
    assert f"{tiny}: tiny, 0.5 MB, its files are whole".encode() in printed


def test_a_pipe_gets_plain_text_even_where_colour_is_forced(capcli: RunCommand, tiny: Path) -> None:
    done = capcli("doctor", "--model", tiny, env={"FORCE_COLOR": "1", "TERM": "xterm-256color"})
    assert done.code == 0 and b"\x1b" not in done.out


# Broken installations


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """This environment's packages as links; what a test takes away or breaks is gone for one process only."""
    folder = tmp_path / "site packages"
    folder.mkdir()
    for module in ("typer", "numpy", "onnxruntime"):
        found = importlib.util.find_spec(module)
        assert found is not None and found.origin is not None
        for entry in Path(found.origin).parent.parent.iterdir():
            link = folder / entry.name
            if not entry.name.startswith(("capcli", "__pycache__")) and entry.suffix != ".pth" and not link.exists():
                link.symlink_to(entry)
    return folder


def remove(site: Path, prefix: str) -> None:
    for entry in site.glob(f"{prefix}*"):
        entry.unlink()


def record(site: Path, name: str, version: str) -> None:
    """What pip leaves to say that a distribution is installed."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")


def broken_module(site: Path, name: str, code: str) -> None:
    (site / name).unlink()
    (site / name).mkdir()
    (site / name / "__init__.py").write_text(code)


def doctor_in(site: Path, tiny: Path, *options: str, **env: str) -> Finished:
    """Doctor as an environment with exactly these packages would run it."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "capcli", "doctor", "--model", str(tiny), *options],
        capture_output=True,
        cwd=site,
        env=environment(PYTHONPATH=os.pathsep.join([str(site), str(ROOT)]), **env),
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


needs_links = pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")


@needs_links
def test_the_packages_as_links_work(site: Path, tiny: Path) -> None:
    done = doctor_in(site, tiny)
    assert done.code == 0 and not failed(lines_of(done))


@needs_links
def test_a_missing_onnxruntime_fails_with_the_command_that_installs_it(site: Path, tiny: Path) -> None:
    remove(site, "onnxruntime")
    done = doctor_in(site, tiny)
    lines = lines_of(done)
    assert done.code == 3
    assert set(failed(lines)) == {"onnxruntime", "cpu", "cuda", "self-test"}
    for finding in failed(lines).values():
        assert "not installed; run " in finding and " -m pip install onnxruntime" in finding
    assert only(lines, "model").state == "ok"
    assert only(lines, "cores").state == "ok"


@needs_links
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('noise')\nraise ImportError('libm.so.9: not found')", "libm.so.9: not found"),
        ("raise RuntimeError('a line\\nanother')", "a line"),
        ("", "an empty shell"),
    ],
)
def test_a_broken_onnxruntime_fails_in_lines_of_its_own(site: Path, tiny: Path, code: str, reason: str) -> None:
    broken_module(site, "onnxruntime", code)
    done = doctor_in(site, tiny)
    lines = lines_of(done)
    assert done.code == 3
    assert set(failed(lines)) == {"cpu", "cuda", "self-test"}
    for finding in failed(lines).values():
        assert reason in finding and "pip uninstall -y onnxruntime onnxruntime-gpu && " in finding
    assert only(lines, "model").state == "ok"
    values = json.loads(doctor_in(site, tiny, "--json").text)
    assert (values["works"], len(values["checks"])) == (False, len(lines))


@needs_links
@pytest.mark.parametrize(
    ("package", "topic", "others"),
    [
        ("numpy", "numpy", {"provider", "self-test"}),
        ("PIL", "pillow", {"self-test"}),
        ("tokenizers", "tokenizers", {"self-test"}),
    ],
)
def test_a_broken_library_fails_with_the_command_that_brings_it_back(
    site: Path, tiny: Path, package: str, topic: str, others: set[str]
) -> None:
    broken_module(site, package, "raise ImportError('its native part does not fit this machine')")
    done = doctor_in(site, tiny)
    lines = lines_of(done)
    assert done.code == 3
    assert set(failed(lines)) >= {topic, *others}
    found = only(lines, topic).finding
    assert "its native part does not fit this machine" in found
    assert f"pip install --force-reinstall --no-deps {topic}=={metadata.version(topic)}" in found
    assert "a library cannot be loaded (its native part does not fit" in only(lines, "self-test").finding
    assert only(lines, "onnxruntime").state == "ok"
    assert only(lines, "model").state == "ok"


@needs_links
def test_two_distributions_of_onnxruntime_are_a_warning_with_the_way_out(site: Path, tiny: Path) -> None:
    for entry in site.glob("onnxruntime*.dist-info"):
        entry.unlink()
    record(site, "onnxruntime", "1.30.0")
    record(site, "onnxruntime-gpu", "1.31.1")
    done = doctor_in(site, tiny)
    found = only(lines_of(done), "onnxruntime")
    assert done.code == 0
    assert found.state == "warning"
    assert found.finding.startswith("onnxruntime 1.30.0 and onnxruntime-gpu 1.31.1 are both installed and overwrite")
    assert "pip uninstall -y onnxruntime onnxruntime-gpu && " in found.finding


@needs_links
def test_extras_are_told_from_what_is_recorded(site: Path, tiny: Path, tmp_path: Path) -> None:
    for name in ("torch", "onnx-", "onnxscript", "pycocoevalcap", "pillow_heif", "pyexiv2"):
        remove(site, name)
    lines = lines_of(doctor_in(site, tiny))
    for name in ("heic", "metadata", "train", "eval"):
        line = only(lines, name)
        assert line.state == "ok" and line.finding.startswith("not installed; ")
        assert f"pip install {shlex.quote(f'capcli[{name}]')}" in line.finding

    # Never imported, so what is recorded is enough to be found; and Java is looked for with the scorers only.
    for name in ("pillow-heif", "torch", "pycocoevalcap"):
        record(site, name, "9.8.7")
    lines = lines_of(doctor_in(site, tiny, PATH=str(tmp_path / "no programs")))
    assert only(lines, "heic") == Line("ok", "heic", "pillow-heif 9.8.7")
    assert only(lines, "train").finding.startswith("without onnx, onnxscript; ")
    assert only(lines, "eval").state == "warning"
    assert "pycocoevalcap 9.8.7; " in only(lines, "eval").finding and "Java" in only(lines, "eval").finding


@needs_links
def test_what_nobody_expected_is_a_failed_line_too(site: Path, tiny: Path) -> None:
    broken_module(site, "tokenizers", "raise SystemError('\\n\\nthe loader gave up\\nfor good')")
    done = doctor_in(site, tiny)
    assert done.code == 3
    assert "the loader gave up" in only(lines_of(done), "tokenizers").finding
    assert "SystemError: the loader gave up; " in only(lines_of(done), "self-test").finding
