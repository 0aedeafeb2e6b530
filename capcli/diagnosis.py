"""Whether captions can be made on this machine, and what is in the way: the facts behind `capcli doctor`.

Makes one check after another and goes on whatever it finds: a broken library or bundle is a finding, not a failure.
So nothing that may be broken is imported with this module, and no check relies on another one. Knows nothing of
terminals or options.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from capcli.bundle.bundle import DEFAULT, Bundle, load_bundle
from capcli.bundle.catalogue import search_places
from capcli.bundle.precision import INT8
from capcli.errors import CapcliError, DependencyError, UsageError
from capcli.extras import EXTRAS, Extra, distribution_version
from capcli.outputs.files import why
from capcli.runtime.cores import available_cores
from capcli.runtime.held_signals import held_signals
from capcli.runtime.installation import (
    conflict,
    cuda_is_built_for_this_platform,
    install_command,
    installed_runtimes,
    reinstall_command,
    right_runtime,
)
from capcli.runtime.native_output import captured, one_reason
from capcli.training.inputs.cache_folder import default_cache, in_bytes, stores

if TYPE_CHECKING:
    import numpy as np

State: TypeAlias = Literal["ok", "warning", "failed"]

# `runtime` has the same list, but cannot be imported where NumPy is broken.
_PROVIDERS = ("auto", "cpu", "cuda")
# Distribution and the module that shows whether it can be loaded. Typer and rich belong to the command line.
_LIBRARIES = (("numpy", "numpy"), ("pillow", "PIL.Image"), ("tokenizers", "tokenizers"))
_SHELL_LIBRARIES = ("typer", "rich")
_AGAIN = "mend what failed above, or install capcli again"


@dataclass(frozen=True)
class MadeCaption:
    """A caption that was made to see whether one can be; times in seconds."""

    text: str
    provider: str
    load_seconds: float
    caption_seconds: float


@dataclass(frozen=True)
class Check:
    """What was found out about one topic. If something is wrong, `finding` also says what to do.

    `caption` is set on the check that made one, which proves that capcli works.
    """

    topic: str
    state: State
    finding: str
    caption: MadeCaption | None = None


def examine(model: str | os.PathLike[str] = DEFAULT, provider: str = "auto") -> Iterator[Check]:
    """Checks everything that a caption depends on, and makes one.

    Args:
        model: the bundle's name or folder.
        provider: "auto", "cpu" or "cuda".
    Returns:
        The checks, each as soon as it is done. Captions can be made if one of them has a `caption`.
    Raises:
        UsageError: no such provider. Nothing else: what is broken is a failed check.
    """
    if provider not in _PROVIDERS:
        raise UsageError(f"no provider {provider!r}; choose one of {', '.join(_PROVIDERS)}")
    yield from _guarded("capcli", _system)
    for distribution, module in _LIBRARIES:
        yield from _guarded(distribution, partial(_library, distribution, module))
    for distribution in _SHELL_LIBRARIES:
        yield Check(distribution, "ok", distribution_version(distribution) or "installed, its version is not recorded")
    yield from _guarded("onnxruntime", _runtime_distributions)
    yield from _guarded("provider", partial(_providers, provider))
    yield from _guarded("cores", _cores)
    for extra in EXTRAS:
        yield from _guarded(extra.name, partial(_extra, extra))
    yield from _guarded("cache", _cache)
    yield from _guarded("bundles", _places)
    yield from _guarded("model", partial(_model, model))
    yield from _guarded("self-test", partial(_self_test, model, provider))


def _guarded(topic: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The checks of one topic; an error that they raise becomes a failed check."""
    try:
        yield from look()
    except CapcliError as error:
        yield Check(topic, "failed", str(error))
    except ImportError as error:
        name = error.name or "a library"
        yield Check(topic, "failed", f"{name} cannot be loaded ({one_reason(str(error))}); {_AGAIN}")
    except Exception as error:
        yield Check(topic, "failed", f"{type(error).__name__}: {one_reason(str(error))}; {_AGAIN}")


def _system() -> Iterator[Check]:
    from capcli import __version__

    yield Check("capcli", "ok", f"{__version__}, {Path(__file__).parent}")
    yield Check("python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield Check("platform", "ok", f"{platform.platform()}, {platform.machine()}")


def _library(distribution: str, module: str) -> Iterator[Check]:
    """Versions are read from what is recorded; only loading shows a native part that does not fit the machine."""
    version = distribution_version(distribution)
    try:
        with held_signals(), captured():
            importlib.import_module(module)
    except Exception as error:
        if version is None:
            yield Check(distribution, "failed", f"not installed; run {install_command(distribution)}")
            return
        again = install_command("--force-reinstall", "--no-deps", f"{distribution}=={version}")
        reason = one_reason(str(error))
        yield Check(distribution, "failed", f"{version} cannot be loaded ({reason}); run {again}")
        return
    yield Check(distribution, "ok", version or "its version is not recorded")


def _runtime_distributions() -> Iterator[Check]:
    distributions = installed_runtimes()
    both = conflict(distributions)
    if both is not None:
        yield Check("onnxruntime", "warning", str(both))
    elif distributions:
        yield Check("onnxruntime", "ok", str(distributions[0]))
    elif importlib.util.find_spec("onnxruntime") is None:
        yield Check("onnxruntime", "failed", f"not installed; run {install_command(right_runtime())}")
    else:
        yield Check("onnxruntime", "warning", f"none that is recorded as installed; run {reinstall_command()}")


def _providers(wanted: str) -> Iterator[Check]:
    from capcli.runtime.sessions import provider_report

    report = provider_report()
    if report.cpu.obstacle is not None:
        yield Check("cpu", "failed", str(report.cpu.obstacle))
    else:
        yield Check("cpu", "ok", f"can be used, by ONNX Runtime {report.version}")
    obstacle = report.cuda.obstacle
    if obstacle is None:
        yield Check("cuda", "ok", "can be used" + (", not asked for" if wanted == "cpu" else ""))
    elif wanted == "cuda" or report.cpu.obstacle is not None:
        yield Check("cuda", "failed", str(obstacle))
    else:
        # Nobody who asked for the CPU, or has a machine that CUDA does not exist for, need be warned.
        fine = wanted == "cpu" or not cuda_is_built_for_this_platform()
        yield Check("cuda", "ok" if fine else "warning", f"not used: {obstacle}")


def _cores() -> Iterator[Check]:
    cores = available_cores()
    yield Check("cores", "ok", f"{cores} for this process, one thread each; {os.cpu_count()} logical CPUs in all")


def _extra(extra: Extra) -> Iterator[Check]:
    present = extra.installed()
    missing = [name for name in extra.distributions if name not in {found.name for found in present}]
    if missing:
        lacking = f"without {', '.join(missing)}" if present else "not installed"
        yield Check(extra.name, "ok", f"{lacking}; {extra.use}: run {install_command(f'capcli[{extra.name}]')}")
        return
    finding = ", ".join(str(distribution) for distribution in present)
    if extra.name != "eval":
        yield Check(extra.name, "ok", finding)
        return
    from capcli.evaluation.java import find_java

    try:
        yield Check(extra.name, "ok", f"{finding}, {find_java()}")
    except DependencyError as error:
        yield Check(extra.name, "warning", f"{finding}; {error}")


def _cache() -> Iterator[Check]:
    place = default_cache()
    try:
        found = stores(place)
    except OSError as error:
        yield Check("cache", "warning", f"{place}: {why(error)}; train with --cache FOLDER or --no-cache")
        return
    size = sum(store.size for store in found)
    what = f"{in_bytes(size)} of capcli train's; capcli doctor --prune-cache empties it" if found else "empty"
    yield Check("cache", "ok", f"{place}: {what}")


def _places() -> Iterator[Check]:
    named = {os.path.realpath(part) for part in os.environ.get("CAPCLI_MODELS", "").split(os.pathsep) if part}
    for place in search_places():
        found = ", ".join(folder.name for folder in place.bundles)
        if place.problem is None:
            yield Check("bundles", "ok", f"{place.folder}: {found or 'none'}")
        elif os.path.realpath(place.folder) in named:
            yield Check("bundles", "warning", f"{place.folder}: {place.problem}; mend CAPCLI_MODELS, which names it")
        else:
            yield Check("bundles", "ok", f"{place.folder}: {place.problem}")


def _model(model: str | os.PathLike[str]) -> Iterator[Check]:
    bundle = load_bundle(model)
    size = sum(file.size for file in bundle.manifest.files.values())
    yield Check("model", "ok", f"{bundle.folder}: {bundle.manifest.name}, {size / 1e6:.1f} MB, its files are whole")


def _self_test(model: str | os.PathLike[str], provider: str) -> Iterator[Check]:
    """Goes the whole way of `capcli caption`, from the bundle's folder to a sentence."""
    started = time.perf_counter()
    from capcli.captioner import Captioner

    captioner = Captioner(model, provider=provider)
    loaded = time.perf_counter()
    text = captioner.caption(_picture()).text
    ended = time.perf_counter()
    made = MadeCaption(text, captioner.provider, round(loaded - started, 3), round(ended - loaded, 3))
    finding = f'"{text}" in {made.caption_seconds:.2f} s on {made.provider}, loaded in {made.load_seconds:.2f} s'
    # CUDA may fail only with the graph, after everything looked well.
    note = f" (not on cuda: {captioner.provider_note})" if captioner.provider_note else ""
    yield Check("self-test", "ok", finding + note, made)
    yield from _guarded("int8", partial(_int8, captioner.bundle, captioner.provider))


def _int8(bundle: Bundle, provider: str) -> Iterator[Check]:
    """Whether it pays here that a model computes in int8; of a float32 model nothing is said."""
    from capcli.runtime.int8_speed import measure_int8_speed

    if bundle.manifest.precision.encoder != INT8:
        return
    speed = measure_int8_speed(provider)
    found = f"{speed.ratio:.2f} times as fast as float32 on {speed.provider}, by a block of layers"
    if speed.ratio >= 1:
        yield Check("int8", "ok", found)
        return
    advice = f"capcli export {bundle.folder} FOLDER --precision float32 --proof-images PHOTOS"
    yield Check("int8", "warning", f"{found}; for a quicker model run {advice}, then use --model FOLDER")


def _picture() -> np.ndarray:
    """A red disc on white, uint8 [96, 96, 3]."""
    import numpy as np

    rows, columns = np.mgrid[:96, :96]
    disc = (rows - 48) ** 2 + (columns - 48) ** 2 < 26**2
    return np.where(disc[..., None], (214, 40, 40), (245, 245, 245)).astype(np.uint8)
