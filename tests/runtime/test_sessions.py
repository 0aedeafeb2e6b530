"""ONNX Runtime sessions and providers, with real graphs, real folders and real processes."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.errors import BundleError, ProviderError, UsageError
from capcli.runtime import sessions as runtime
from capcli.runtime.cores import available_cores
from capcli.runtime.installation import Distribution, Obstacle, conflict, installed_runtimes, right_runtime
from capcli.runtime.sessions import Session, TensorSpec, find_target, open_session, open_sessions, provider_report
from tests.conftest import TESTS, Finished, environment, python

WEIGHTS = np.arange(6, dtype=np.float32).reshape(3, 2)
FLOAT, INT64 = 1, 7


def field(number: int, value: bytes | str | int) -> bytes:
    """One field of a protocol buffer; enough of the format for a graph of a few nodes."""
    if isinstance(value, int):
        assert 0 <= value < 128
        return bytes([number << 3, value])
    content = value.encode() if isinstance(value, str) else value
    assert len(content) < 1 << 14
    return bytes([number << 3 | 2, len(content) & 127 | 128, len(content) >> 7]) + content


def tensor(name: str, dtype: int, shape: tuple[str | int, ...]) -> bytes:
    """A ValueInfoProto."""
    dims = b"".join(field(1, field(2 if isinstance(size, str) else 1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, dtype) + field(2, dims)))


def node(operator: str, inputs: tuple[str, ...], output: str) -> bytes:
    return b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, operator)


# y = x @ W, z = relu(y), picked = x[k], for any number of rows.
GRAPH = (
    field(1, 8)
    + field(8, field(2, 17))
    + field(
        7,
        field(1, node("MatMul", ("x", "W"), "y"))
        + field(1, node("Relu", ("y",), "z"))
        + field(1, node("Gather", ("x", "k"), "picked"))
        + field(2, "test")
        + field(5, field(1, 3) + field(1, 2) + field(2, FLOAT) + field(8, "W") + field(9, WEIGHTS.tobytes()))
        + field(11, tensor("x", FLOAT, ("n", 3)))
        + field(11, tensor("k", INT64, ("n",)))
        + field(12, tensor("y", FLOAT, ("n", 2)))
        + field(12, tensor("z", FLOAT, ("n", 2)))
        + field(12, tensor("picked", FLOAT, ("n", 3))),
    )
)
OPEN = """
import sys
from pathlib import Path
from capcli.errors import CapcliError
from capcli.runtime.sessions import open_session
try:
    session = open_session(Path(sys.argv[1]), provider=sys.argv[2])
    print(session.provider, session.provider_note)
except CapcliError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "graph.onnx"
    path.write_bytes(GRAPH)
    return path


@pytest.fixture(scope="module")
def session() -> Session:
    return open_session(GRAPH, provider="cpu")


@pytest.fixture(scope="module")
def one() -> Session:
    return open_session(GRAPH, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def several() -> Session:
    return open_session(GRAPH, provider="cpu", threads=3)


def feeds(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {"x": random.standard_normal((rows, 3)).astype(np.float32), "k": np.arange(rows)[::-1]}


# Sessions


def test_a_session_describes_its_tensors(session: Session) -> None:
    assert session.inputs == (TensorSpec("x", "float32", (None, 3)), TensorSpec("k", "int64", (None,)))
    assert session.outputs == (
        TensorSpec("y", "float32", (None, 2)),
        TensorSpec("z", "float32", (None, 2)),
        TensorSpec("picked", "float32", (None, 3)),
    )
    assert (session.provider, session.provider_note) == ("cpu", None)


def test_outputs_come_in_the_order_asked_for_and_all_by_default(session: Session) -> None:
    given_ = feeds(4)
    y, z, picked = session.run(given_)
    np.testing.assert_allclose(y, given_["x"] @ WEIGHTS, rtol=1e-5)
    np.testing.assert_array_equal(z, np.maximum(y, 0))
    np.testing.assert_array_equal(picked, given_["x"][::-1])
    swapped = session.run(given_, ["picked", "y"])
    np.testing.assert_array_equal(swapped[0], picked)
    np.testing.assert_array_equal(swapped[1], y)


@given(st.integers(1, 40), st.data())
@settings(max_examples=25, deadline=None)
def test_a_row_does_not_depend_on_its_batch_or_on_threads(
    one: Session, several: Session, rows: int, data: st.DataObject
) -> None:
    given_ = feeds(rows, seed=rows)
    row = data.draw(st.integers(0, rows - 1))
    alone = one.run({"x": given_["x"][row : row + 1], "k": np.zeros(1, np.int64)}, ["y"])[0]
    np.testing.assert_allclose(several.run(given_, ["y"])[0][row], alone[0], atol=1e-5)


def test_on_the_cpu_an_upload_is_the_array_itself(session: Session) -> None:
    array = feeds(2)["x"]
    assert session.upload(array) is array


def test_a_file_and_its_bytes_are_the_same_graph(graph: Path) -> None:
    assert open_session(graph, provider="cpu").inputs == open_session(GRAPH, provider="cpu").inputs


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_path_that_is_not_utf8_can_be_opened(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / "graph.onnx").write_bytes(GRAPH)
    assert open_session(folder / "graph.onnx", provider="cpu").run(feeds(1))[0].shape == (1, 2)


@pytest.mark.parametrize("provider", ["cpu", "auto"])
@pytest.mark.parametrize(
    "content",
    [b"", b"not a graph\n" * 40, GRAPH[: len(GRAPH) // 2], GRAPH.replace(b"Relu", b"Nope"), GRAPH[:-40] + bytes(40)],
    ids=["empty", "text", "cut short", "unknown operator", "zeros at its end"],
)
def test_what_is_no_graph_is_refused_in_one_line_that_names_it(content: bytes, provider: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError) as raised:
        open_session(path, provider=provider)
    assert str(raised.value).startswith(f"{path}: not a usable ONNX graph (")
    assert len(str(raised.value).splitlines()) == 1
    with pytest.raises(BundleError, match=r"^the graph: not a usable ONNX graph \("):
        open_session(content, provider=provider)


def test_graphs_that_are_opened_together_are_each_what_they_are_alone(graph: Path) -> None:
    other = GRAPH.replace(b"Relu", b"Sinh")
    both = open_sessions([graph, other], find_target("cpu"), 1)
    for session, alone in zip(both, (open_session(each, provider="cpu") for each in (graph, other)), strict=True):
        assert np.array_equal(session.run(feeds(3), ["z"])[0], alone.run(feeds(3), ["z"])[0])
        assert (session.provider, session.threads) == ("cpu", 1)


def test_of_graphs_that_are_opened_together_the_bad_one_is_named(graph: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(GRAPH.replace(b"Relu", b"Nope"))
    with pytest.raises(BundleError, match=r"bad\.onnx: not a usable ONNX graph \("):
        open_sessions([graph, bad], find_target("cpu"))


def test_what_auto_decides_for_the_first_graph_holds_for_all(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def no_gpu(ort: object, source: runtime._Source, threads: int) -> Obstacle:
        tried.append(source.name)
        return Obstacle("the GPU is too old", "use the cpu provider")

    # As on a machine where only running a graph shows that CUDA does not work.
    monkeypatch.setattr(runtime, "cuda_obstacle", lambda ort, thorough: None)
    monkeypatch.setattr(runtime, "_open_cuda", no_gpu)
    both = open_sessions([graph, GRAPH], find_target("auto"))
    assert [(session.provider, session.provider_note) for session in both] == [("cpu", "the GPU is too old")] * 2
    assert tried == [str(graph)]


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"none\.onnx: cannot be read \(No such file"):
        open_session(tmp_path / "none.onnx")
    with pytest.raises(BundleError, match="cannot be read"):
        open_session(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"x": np.ones((2, 4), np.float32)}, {"x": np.ones((2, 3))}, {"w": np.ones(1)}, {"k": np.array([0, 2])}],
)
def test_wrong_feeds_are_refused_in_one_line(session: Session, wrong: dict[str, np.ndarray]) -> None:
    with pytest.raises(BundleError, match=r"^the graph: the graph cannot be run \(.+\)$"):
        session.run({**feeds(2), **wrong})
    with pytest.raises(BundleError):
        session.run({})
    with pytest.raises(BundleError):
        session.run(feeds(2), ["nothing"])


def test_the_default_is_one_thread_for_each_core_this_process_may_use(session: Session) -> None:
    assert session.threads == available_cores()
    assert open_session(GRAPH, provider="cpu", threads=3).threads == 3


def test_unknown_providers_and_no_threads_are_wrong_usage(graph: Path) -> None:
    with pytest.raises(UsageError, match="auto, cpu, cuda"):
        open_session(graph, provider="gpu")
    with pytest.raises(UsageError, match="at least 1"):
        open_session(graph, threads=0)


# What is printed


def test_importing_the_module_loads_no_onnxruntime() -> None:
    done = python("import sys, capcli.runtime.sessions; sys.exit('onnxruntime' in sys.modules)")
    assert done == Finished(0, b"", b"")


def test_onnxruntime_reports_to_nobody_and_keeps_nothing(graph: Path, tmp_path: Path) -> None:
    """Its builds report to Microsoft, and keep an identifier and a database, where the environment lets them."""
    silent = {"CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME", "PYTEST_CURRENT_TEST"}
    kept = {name: value for name, value in os.environ.items() if name not in silent and not name.startswith("ORT_")}
    for place in ("home", "tmp"):
        (tmp_path / place).mkdir()
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys, numpy as np\n"
            "from pathlib import Path\n"
            "from capcli.runtime.sessions import open_session\n"
            "session = open_session(Path(sys.argv[1]), provider='cpu')\n"
            "session.run({'x': np.ones((1, 3), np.float32), 'k': np.arange(1)}, ['y'])\n",
            str(graph),
        ],
        env={**kept, "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")},
        capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    assert [path for place in ("home", "tmp") for path in (tmp_path / place).rglob("*")] == []


@pytest.mark.parametrize("provider", ["auto", "cpu"])
def test_a_run_prints_nothing_of_its_own(provider: str, graph: Path) -> None:
    done = python(
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from capcli.runtime.sessions import open_session\n"
        "session = open_session(Path(sys.argv[1]), provider=sys.argv[2])\n"
        "print(session.run({'x': np.ones((1, 3), np.float32), 'k': np.arange(1)}, ['y'])[0].tolist())\n",
        str(graph),
        provider,
    )
    assert done == Finished(0, b"[[6.0, 9.0]]\n", b"")


@pytest.mark.parametrize("first", ["sys", "onnxruntime"])
def test_a_failing_run_prints_nothing(first: str, graph: Path) -> None:
    done = python(
        f"import sys, {first}, numpy as np\n"
        "from pathlib import Path\n"
        "from capcli.errors import BundleError\n"
        "from capcli.runtime.sessions import open_session\n"
        "session = open_session(Path(sys.argv[1]), provider='cpu')\n"
        "try:\n"
        "    session.run({'x': np.ones((1, 3), np.float32), 'k': np.array([99])})\n"
        "except BundleError as error:\n"
        "    sys.exit(5 if 'out of data bounds' in str(error) else 6)\n",
        str(graph),
    )
    assert done == Finished(5, b"", b"")


def test_a_bad_graph_prints_nothing_but_the_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"junk")
    done = python(OPEN, str(path), "auto")
    assert done.text.startswith(f"BundleError {path}: ") and done.out.count(b"\n") == 1
    assert (done.code, done.err) == (0, b"")


def test_cuda_runs_on_cuda_or_is_refused_with_the_mend(graph: Path) -> None:
    try:
        on_gpu = open_session(graph, provider="cuda")
    except ProviderError as error:
        assert error.exit_code == 3
        assert "CUDA cannot be used: " in str(error) and "; " in str(error)
        assert not provider_report().cuda.usable
    else:
        assert on_gpu.provider == "cuda"
        given_ = feeds(3)
        y = on_gpu.run({"x": on_gpu.upload(given_["x"]), "k": given_["k"]}, ["y"])[0]
        np.testing.assert_allclose(y, given_["x"] @ WEIGHTS, rtol=1e-4)


def test_refusing_cuda_prints_nothing_else(graph: Path) -> None:
    done = python(OPEN, str(graph), "cuda", CUDA_VISIBLE_DEVICES="-1")
    assert done.text.startswith("ProviderError CUDA cannot be used: ") and done.out.count(b"\n") == 1
    assert (done.code, done.err) == (0, b"")


def test_auto_says_why_it_is_not_cuda(graph: Path) -> None:
    done = python(OPEN, str(graph), "auto", CUDA_VISIBLE_DEVICES="-1")
    assert done.text.startswith("cpu ") and done.text != "cpu None\n" and done.out.count(b"\n") == 1
    assert (done.code, done.err) == (0, b"")


def test_a_session_that_onnxruntime_quietly_puts_on_the_cpu_is_not_taken_for_cuda(graph: Path) -> None:
    done = python(
        "import sys, onnxruntime\n"
        "from pathlib import Path\n"
        "from capcli.runtime.sessions import _open_cuda, _source\n"
        "print(_open_cuda(onnxruntime, _source(Path(sys.argv[1])), 1))\n",
        str(graph),
        CUDA_VISIBLE_DEVICES="-1",
    )
    assert done.code == 0 and done.err == b"" and done.out.count(b"\n") == 1
    assert not any(words in done.text for words in ("Session", "no reason was given", "no part of the graph"))


@pytest.mark.skipif(os.name == "nt", reason="a shell's >&- is meant")
def test_closed_streams_and_no_temporary_folder_are_survived(graph: Path) -> None:
    script = (
        "from capcli.runtime.sessions import open_session; import sys; open_session(open(sys.argv[1], 'rb').read())"
    )
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        line = f"{shlex.join([sys.executable, '-c', script, str(graph)])} {closed}"
        done = subprocess.run(
            ["sh", "-c", line], capture_output=True, env=environment(TMPDIR="/nonexistent"), check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_where_nothing_is_in_the_way_auto_takes_the_session_that_ran(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The CPU plays the GPU: the path from the probe to the first run needs none.
    monkeypatch.setattr(runtime, "cuda_obstacle", lambda ort, thorough: None)
    monkeypatch.setattr(runtime, "CUDA", "CPUExecutionProvider")
    monkeypatch.setattr(runtime, "_CUDA_OPTIONS", {})
    for provider in ("auto", "cuda"):
        played = open_session(graph, provider=provider)
        assert (played.provider, played.provider_note) == ("cuda", None)
        with pytest.raises(ProviderError, match="use the cpu provider"):
            played.run({})
    with pytest.raises(BundleError, match="not a usable ONNX graph"):
        open_session(GRAPH[:50], provider="cuda")


# Broken installations


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """This environment's packages without ONNX Runtime."""
    folder = tmp_path / "site packages"
    folder.mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            if not entry.name.startswith(("onnxruntime", "__pycache__")) and not entry.name.endswith(".pth"):
                (folder / entry.name).symlink_to(entry)
    return folder


def run_in(site: Path, code: str, *arguments: str) -> Finished:
    """Runs a few lines that see the packages of one folder only."""
    path = os.pathsep.join([str(site), str(TESTS.parent)])
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, *arguments],
        capture_output=True,
        env=environment(PYTHONPATH=path),
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def record(site: Path, name: str, version: str) -> None:
    """What pip leaves to say that a distribution is installed."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")


def add_runtime_without_cuda(site: Path) -> None:
    """The real module as the CPU-only distribution builds it: without CUDA among its providers."""
    import onnxruntime

    real = Path(onnxruntime.__file__).parent
    (site / "onnxruntime").mkdir()
    (site / "onnxruntime" / "__init__.py").write_text(
        f"__path__ = [{str(real)!r}]\n"
        f"exec(compile(open({str(real / '__init__.py')!r}).read(), __file__, 'exec'))\n"
        "cuda_version = ''\n"
        "def get_available_providers(): return ['CPUExecutionProvider']\n"
    )


def mending() -> str:
    pip = f"{shlex.quote(sys.executable)} -m pip"
    return f"run {pip} uninstall -y onnxruntime onnxruntime-gpu && {pip} install {right_runtime()}"


def break_nothing_there(site: Path) -> str:
    return f"ONNX Runtime is not installed; run {shlex.quote(sys.executable)} -m pip install {right_runtime()}"


def break_empty_folder(site: Path) -> str:
    (site / "onnxruntime").mkdir()
    return f"the installed ONNX Runtime is an empty shell (it has no InferenceSession); {mending()}"


def break_leftover_subfolder(site: Path) -> str:
    (site / "onnxruntime" / "capi" / "__pycache__").mkdir(parents=True)
    record(site, "onnxruntime-gpu", "1.31.1")
    return f"the installed ONNX Runtime is an empty shell (it has no InferenceSession); {mending()}"


def break_missing_native_module(site: Path) -> str:
    import onnxruntime

    (site / "onnxruntime").mkdir()
    shutil.copy(onnxruntime.__file__, site / "onnxruntime")
    return f"ONNX Runtime cannot be loaded (No module named 'onnxruntime.capi'); {mending()}"


def break_native_module(site: Path) -> str:
    (site / "onnxruntime").mkdir()
    (site / "onnxruntime" / "__init__.py").write_text("print('noise')\nraise ImportError('libm.so.9: not found')\n")
    return f"ONNX Runtime cannot be loaded (libm.so.9: not found); {mending()}"


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")
@pytest.mark.parametrize(
    "break_it",
    [
        break_nothing_there,
        break_empty_folder,
        break_leftover_subfolder,
        break_missing_native_module,
        break_native_module,
    ],
)
def test_a_broken_onnxruntime_is_answered_with_the_commands_that_mend_it(
    break_it: Callable[[Path], str], site: Path, graph: Path
) -> None:
    message = break_it(site)
    for provider in ("auto", "cpu", "cuda"):
        assert run_in(site, OPEN, str(graph), provider) == Finished(0, f"ProviderError {message}\n".encode(), b"")
    report = (
        "from capcli.runtime.sessions import provider_report as p\n"
        "r = p(); print(r.version, r.cpu.obstacle, r.cuda.usable)"
    )
    assert run_in(site, report) == Finished(0, f"None {message} False\n".encode(), b"")


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")
def test_two_distributions_without_cuda_work_on_the_cpu_and_are_mended_for_cuda(site: Path, graph: Path) -> None:
    add_runtime_without_cuda(site)
    record(site, "onnxruntime", "1.30.0")
    record(site, "onnxruntime-gpu", "1.31.1")
    reason = (
        "the ONNX Runtime in use has no CUDA: onnxruntime 1.30.0 and onnxruntime-gpu 1.31.1 are both installed "
        "and overwrite each other's files"
    )
    assert run_in(site, OPEN, str(graph), "cpu") == Finished(0, b"cpu None\n", b"")
    assert run_in(site, OPEN, str(graph), "auto") == Finished(0, f"cpu {reason}\n".encode(), b"")
    refused = f"ProviderError CUDA cannot be used: {reason}; {mending()}\n"
    assert run_in(site, OPEN, str(graph), "cuda") == Finished(0, refused.encode(), b"")


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")
def test_a_distribution_without_cuda_is_named_as_such(site: Path, graph: Path) -> None:
    add_runtime_without_cuda(site)
    record(site, "onnxruntime", "1.30.0")
    done = run_in(site, OPEN, str(graph), "cuda")
    assert done.text.startswith("ProviderError CUDA cannot be used: ") and "has no CUDA" in done.text
    assert ("&&" in done.text) == (right_runtime() == "onnxruntime-gpu")


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")
def test_an_environment_without_pip_is_mended_with_uv(site: Path) -> None:
    (site / "pip").unlink()
    done = run_in(site, "from capcli.runtime.installation import reinstall_command; print(reinstall_command())")
    uv = ("uv pip {} --python " + shlex.quote(sys.executable)).format
    wanted = f"{uv('uninstall')} onnxruntime onnxruntime-gpu && {uv('install')} {right_runtime()}\n"
    assert done == Finished(0, wanted.encode(), b"")


def test_one_distribution_is_no_conflict() -> None:
    assert conflict([Distribution("onnxruntime-gpu", "1.31.1")]) is None
    assert conflict([]) is None


def test_the_report_tells_what_is_installed_here() -> None:
    report = provider_report()
    assert report.cpu.usable and report.threads >= 1
    assert report.distributions == installed_runtimes() != ()
    assert report.version in {distribution.version for distribution in report.distributions}
    assert report.cuda.usable == (report.cuda.obstacle is None)
