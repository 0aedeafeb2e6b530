"""ONNX Runtime: sessions, execution providers, threads. The only module that imports onnxruntime.

It is imported inside functions, with everything it prints kept off stdout and stderr. Knows nothing of captions,
bundles or images.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from capcli.errors import BundleError, ProviderError, UsageError
from capcli.runtime.cores import available_cores
from capcli.runtime.cuda import CUDA, cuda_obstacle, failed_session, is_out_of_memory
from capcli.runtime.graph_file import check_whole
from capcli.runtime.held_signals import held_signals
from capcli.runtime.installation import (
    Distribution,
    Obstacle,
    conflict,
    install_command,
    installed_runtimes,
    reinstall_command,
    right_runtime,
)
from capcli.runtime.native_output import captured, one_reason
from capcli.runtime.telemetry import disable_telemetry

Provider: TypeAlias = Literal["cpu", "cuda"]
PROVIDERS = ("auto", "cpu", "cuda")

_CPU = "CPUExecutionProvider"
# Errors come as exceptions too, which say more; what remains would only appear on the user's stderr.
_FATAL = 4
_WARNING = 2
# ONNX's names of element types where NumPy's differ.
_DTYPES = {"float": "float32", "double": "float64", "string": "str"}
_CUDA_OPTIONS = {
    # The default search tries all algorithms anew for each batch size, and may choose another one each time.
    "cudnn_conv_algo_search": "HEURISTIC",
    # TF32 keeps 10 bits of mantissa: scores could leave the CPU's by more than a caption's 1e-3.
    "use_tf32": "0",
    # Doubling the arena takes memory that batches of one size never use.
    "arena_extend_strategy": "kSameAsRequested",
}


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph: `dtype` is NumPy's name, a dimension is None where any size goes."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class DeviceArray:
    """An array that lies in the GPU's memory, made by `Session.upload`."""

    value: Any


Feed: TypeAlias = np.ndarray | DeviceArray


@dataclass(frozen=True)
class ProviderStatus:
    """Whether a provider can be used; `obstacle` says why not. No session was opened to find out."""

    name: Provider
    obstacle: Obstacle | None

    @property
    def usable(self) -> bool:
        return self.obstacle is None


@dataclass(frozen=True)
class RuntimeReport:
    """ONNX Runtime as it is installed here.

    `version` is None where it cannot be imported. `conflict` is set where several distributions own the module.
    """

    version: str | None
    distributions: tuple[Distribution, ...]
    conflict: Obstacle | None
    cpu: ProviderStatus
    cuda: ProviderStatus
    threads: int


class Session:
    """A loaded graph; made by `open_session`.

    `inputs` and `outputs` describe its tensors, `provider` is what it really runs on, `provider_note` says in one
    line why "auto" did not choose CUDA, `threads` is the number of CPU threads.
    """

    def __init__(
        self, native: Any, name: str, provider: Provider, threads: int, provider_note: str | None = None
    ) -> None:
        self._native = native
        self._name = name
        self.provider: Provider = provider
        self.provider_note = provider_note
        self.threads = threads
        self.inputs = tuple(_spec(node) for node in native.get_inputs())
        self.outputs = tuple(_spec(node) for node in native.get_outputs())

    def run(self, feeds: Mapping[str, Feed], outputs: Sequence[str] | None = None) -> list[np.ndarray]:
        """Runs the graph.

        Args:
            feeds: every input by name, as `inputs` describes it.
            outputs: names of the outputs wanted; all of them by default.
        Returns:
            The outputs, in the order asked for.
        Raises:
            BundleError: the graph does not take these feeds or fails on them.
            ProviderError: memory is not enough, or the GPU failed.
        """
        given = {name: feed.value if isinstance(feed, DeviceArray) else feed for name, feed in feeds.items()}
        try:
            return list(self._native.run(None if outputs is None else list(outputs), given))
        except Exception as error:
            reason = one_reason(str(error))
            if self.provider == "cuda":
                raise ProviderError(f"{self._name}: {failed_session(reason)}") from error
            if is_out_of_memory(reason):
                raise ProviderError(f"{self._name}: not enough memory ({reason}); use a smaller batch size") from error
            raise BundleError(f"{self._name}: the graph cannot be run ({reason})") from error

    def upload(self, array: np.ndarray) -> Feed:
        """Puts an array where the session reads it without copying, for feeds that many runs share.

        On the CPU it is the array itself.
        """
        if self.provider == "cpu":
            return array
        import onnxruntime

        try:
            return DeviceArray(onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), "cuda", 0))
        except Exception as error:
            reason = one_reason(str(error))
            if is_out_of_memory(reason):
                raise ProviderError(f"{self._name}: {failed_session(reason)}") from error
            # A build that cannot share memory between sessions is only slower: its runs copy the array.
            return array


@dataclass(frozen=True)
class Target:
    """What graphs are to run on, as far as it can be told without one.

    `provider`: as it was asked for. `obstacle`: what is in the way of CUDA where "auto" was.
    """

    provider: str
    obstacle: Obstacle | None = None

    @property
    def tries_cuda(self) -> bool:
        return self.provider != "cpu" and self.obstacle is None


def find_target(provider: str) -> Target:
    """What graphs are to run on.

    Args:
        provider: "cpu", "cuda", or "auto": CUDA where a cheap probe finds nothing in its way and the first graph then
            runs on it, else the CPU.
    Raises:
        ProviderError: ONNX Runtime is broken, or CUDA was asked for and cannot be used.
        UsageError: no such provider.

    Call it from one thread at a time: stdout and stderr of the whole process are held meanwhile.
    """
    if provider not in PROVIDERS:
        raise UsageError(f"no provider {provider!r}; choose one of {', '.join(PROVIDERS)}")
    ort = _load_onnxruntime()
    if isinstance(ort, Obstacle):
        raise ProviderError(str(ort))
    obstacle = None if provider == "cpu" else cuda_obstacle(ort, thorough=provider == "cuda")
    if obstacle is not None and provider == "cuda":
        raise ProviderError(f"CUDA cannot be used: {obstacle}")
    return Target(provider, obstacle)


def open_session(graph: Path | bytes, *, provider: str = "auto", threads: int | None = None) -> Session:
    """Loads one ONNX graph; see `find_target` and `open_sessions`."""
    (session,) = open_sessions([graph], find_target(provider), threads)
    return session


def open_sessions(graphs: Sequence[Path | bytes], target: Target, threads: int | None = None) -> list[Session]:
    """Loads ONNX graphs that work together, all on one provider.

    Args:
        graphs: files, or their bytes; at least one.
        target: from `find_target`. Where CUDA is tried, stdout and stderr of the whole process are held meanwhile; else
            any thread may call this.
        threads: CPU threads of each; by default one for each core this process may use.
    Raises:
        BundleError: a file cannot be read or is no ONNX graph that can be loaded.
        ProviderError: CUDA was asked for and cannot be used, or memory is not enough.
        UsageError: less than one thread.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}")
    threads = threads or available_cores()
    sources = [_source(graph) for graph in graphs]
    ort = _load_onnxruntime()
    sessions: list[Session] = []
    obstacle = target.obstacle
    while obstacle is None and target.provider != "cpu" and len(sessions) < len(sources):
        opened = _open_cuda(ort, sources[len(sessions)], threads)
        if isinstance(opened, Session):
            sessions.append(opened)
        else:
            obstacle = opened
    # Where a graph itself was at fault, the CPU refuses it too, with an error that says so.
    note = None if obstacle is None else obstacle.reason
    left = sources[len(sessions) :]
    # At once: reading a graph takes one core, and leaves Python free.
    pool = ThreadPoolExecutor(len(sources))
    opening = [pool.submit(_open_on_cpu, ort, source, threads, note) for source in left]
    # Not waited for here, since that is broken off badly by a signal (see `Batcher.close`).
    pool.shutdown(wait=False)
    sessions += [opened.result() for opened in opening]
    if left and target.provider == "cuda":
        raise ProviderError(f"{left[0].name}: CUDA cannot be used: {obstacle}")
    _give_memory_back()
    return sessions


def provider_report() -> RuntimeReport:
    """What is installed and which providers can be used. Opens no session, and raises nothing."""
    distributions = installed_runtimes()
    ort = _load_onnxruntime()
    broken = ort if isinstance(ort, Obstacle) else None
    return RuntimeReport(
        version=None if broken else str(ort.__version__),
        distributions=distributions,
        conflict=conflict(distributions),
        cpu=ProviderStatus("cpu", broken),
        cuda=ProviderStatus("cuda", broken or cuda_obstacle(ort, thorough=True)),
        threads=available_cores(),
    )


def _load_onnxruntime() -> Any:
    """The module, or an `Obstacle`."""
    known = sys.modules.get("onnxruntime")
    if hasattr(known, "InferenceSession"):
        return known
    reason = None
    disable_telemetry()
    # Looking for devices, it may warn on stderr as soon as it is imported.
    with held_signals(), captured():
        try:
            ort = importlib.import_module("onnxruntime")
            if hasattr(ort, "InferenceSession"):
                ort.set_default_logger_severity(_FATAL)
                ort.disable_telemetry_events()
                return ort
        except ModuleNotFoundError as error:
            if error.name == "onnxruntime":
                return Obstacle("ONNX Runtime is not installed", f"run {install_command(right_runtime())}")
            reason = one_reason(str(error))
        except Exception as error:
            reason = one_reason(str(error))
    mend = f"run {reinstall_command()}"
    if reason is None:
        # What is left in the place of two distributions after one of them was uninstalled.
        return Obstacle("the installed ONNX Runtime is an empty shell (it has no InferenceSession)", mend)
    if sys.platform == "win32" and "DLL load failed" in reason:
        mend = f"install https://aka.ms/vs/17/release/vc_redist.x64.exe; if that does not help, {mend}"
    return Obstacle(f"ONNX Runtime cannot be loaded ({reason})", mend)


@dataclass(frozen=True)
class _Source:
    """A graph as ONNX Runtime is given it, and what to call it in messages."""

    given: str | bytes
    name: str


def _source(graph: Path | bytes) -> _Source:
    """ONNX Runtime takes paths in UTF-8 only, and its errors do not tell missing from forbidden."""
    if isinstance(graph, bytes):
        check_whole(graph, "the graph")
        return _Source(graph, "the graph")
    name = str(graph)
    try:
        check_whole(graph, name)
        try:
            return _Source(name.encode().decode(), name)
        except UnicodeEncodeError:
            return _Source(graph.read_bytes(), name)
    except OSError as error:
        raise BundleError(f"{graph}: cannot be read ({error.strerror})") from error


def _options(ort: Any, threads: int) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Waiting threads sleep instead of spinning: spinning takes the cores from the threads that decode images and
    # from other programs. With another job on the same two cores, small steps ran almost three times as fast.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Whatever a file is called: ONNX Runtime's own format may name other files too.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # A memory pattern is made and kept for each batch size, and the number of hypotheses changes from step to step.
    options.enable_mem_pattern = False
    # The arena stays: it stops growing at the largest batch, and saves the page faults of fresh memory.
    options.enable_cpu_mem_arena = True
    return options


def _open_on_cpu(ort: Any, source: _Source, threads: int, note: str | None) -> Session:
    """Nothing is printed at this level of logging; and where it was caught, what other threads print would be too."""
    try:
        native = ort.InferenceSession(source.given, _options(ort, threads), providers=[_CPU], enable_fallback=0)
    except Exception as error:
        reason = re.sub(r"^Load model from .* failed: ?", "", one_reason(str(error)))
        if is_out_of_memory(reason):
            raise ProviderError(f"{source.name}: not enough memory to load it ({reason})") from error
        raise BundleError(
            f"{source.name}: not a usable ONNX graph ({reason}); install capcli again, or export the bundle again"
        ) from error
    return Session(native, source.name, "cpu", threads, note)


def _give_memory_back() -> None:
    """Returns to the system what reading graphs has left free, which the C library keeps in a heap for each thread."""
    if sys.platform == "linux":
        # Not every C library has it.
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)


def _open_cuda(ort: Any, source: _Source, threads: int) -> Session | Obstacle:
    """A session that has run on the GPU, or what kept it from that."""
    options = _options(ort, threads)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    reason = ""
    with captured() as printed:
        # Why a provider cannot be made is only logged; the session is then quietly made for the CPU.
        ort.set_default_logger_severity(_WARNING)
        try:
            providers = [(CUDA, _CUDA_OPTIONS), _CPU]
            native = ort.InferenceSession(source.given, options, providers=providers, enable_fallback=0)
            if CUDA in native.get_providers():
                session = Session(native, source.name, "cuda", threads)
                # An old GPU or a missing library of cuDNN shows only now; and the first run is the slow one.
                native.run(None, {spec.name: _zeros(spec) for spec in session.inputs})
                if _is_placed_on_cuda(native):
                    return session
                reason = "no part of the graph was placed on the GPU"
        except Exception as error:
            reason = str(error)
        finally:
            ort.set_default_logger_severity(_FATAL)
    return failed_session(one_reason(reason or printed.text))


def _is_placed_on_cuda(native: Any) -> bool:
    try:
        return any(part.ep_name == CUDA for part in native.get_provider_graph_assignment_info())
    except Exception:
        # Older versions do not tell.
        return True


def _zeros(spec: TensorSpec) -> np.ndarray:
    return np.zeros([1 if size is None else size for size in spec.shape], spec.dtype)


def _spec(node: Any) -> TensorSpec:
    dtype = re.sub(r"^tensor\((.*)\)$", r"\1", node.type)
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorSpec(node.name, _DTYPES.get(dtype, dtype), shape)
