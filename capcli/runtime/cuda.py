"""Whether CUDA can work here: what the NVIDIA driver says, what is missing, and what to do about it.

Facts are gathered first and judged after, so that every judgement can be tested without a GPU. Is handed the module
onnxruntime and never imports it; knows nothing of sessions or graphs.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from capcli.runtime.installation import (
    Obstacle,
    conflict,
    cuda_is_built_for_this_platform,
    install_command,
    installed_runtimes,
    reinstall_command,
)
from capcli.runtime.native_output import captured, one_reason

# The execution provider's name.
CUDA = "CUDAExecutionProvider"
# (major, minor)
CudaVersion: TypeAlias = tuple[int, int]

_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_DRIVER_LIBRARIES = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1")
# The first driver for each CUDA, https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html.
_FIRST_DRIVER = {12: "525", 13: "580"}
# onnxruntime-gpu 1.27 was the first on the package index that was built for CUDA 13.
_OLDER_RUNTIME = {12: "onnxruntime-gpu[cuda,cudnn]<1.27"}
_INSTEAD = "use the cpu provider"


@dataclass(frozen=True)
class CudaFacts:
    """What is known before CUDA is used.

    Args:
        built_for: the CUDA that ONNX Runtime was built for, None if it does not say.
        driver_found: whether the NVIDIA driver's library is there.
        driver_version: the newest CUDA that driver can run, None if it does not say.
        missing: what the loader said of each CUDA or cuDNN library that it could not load.
        devices: GPUs that this process may use; None where they were not counted.
        driver_failure: what the driver said when it could not be started.
        visible_devices: the environment's CUDA_VISIBLE_DEVICES.
    """

    built_for: CudaVersion | None = None
    driver_found: bool = False
    driver_version: CudaVersion | None = None
    missing: tuple[str, ...] = ()
    devices: int | None = None
    driver_failure: str | None = None
    visible_devices: str | None = None

    def obstacle(self) -> Obstacle | None:
        """What is in the way of CUDA, the most basic first; None if nothing is known to be."""
        if not self.driver_found:
            return Obstacle(
                f"no NVIDIA driver was found ({_DRIVER_LIBRARIES[0]})",
                "install the driver from https://www.nvidia.com/drivers (a container needs `--gpus all`), "
                f"or {_INSTEAD}",
            )
        if self.driver_too_old():
            assert self.built_for is not None and self.driver_version is not None
            needed, offered = self.built_for, self.driver_version
            first = f" to {_FIRST_DRIVER[needed[0]]} or newer" if needed[0] in _FIRST_DRIVER else ""
            older = _OLDER_RUNTIME.get(offered[0])
            return Obstacle(
                f"the NVIDIA driver is too old: it runs CUDA up to {_text(offered)}, "
                f"the installed onnxruntime-gpu needs CUDA {_text(needed)}",
                f"update the driver{first}" + (f", or run {install_command(older)}" if older else f", or {_INSTEAD}"),
            )
        if self.driver_failure is not None:
            return Obstacle(
                f"the NVIDIA driver does not start ({self.driver_failure})",
                f"restart the computer or reinstall the driver, or {_INSTEAD}",
            )
        if self.devices == 0:
            hidden = self.visible_devices is not None
            return Obstacle(
                "no NVIDIA GPU is visible" + (f" (CUDA_VISIBLE_DEVICES is {self.visible_devices!r})" if hidden else ""),
                ("unset CUDA_VISIBLE_DEVICES" if hidden else "check that nvidia-smi lists one") + f", or {_INSTEAD}",
            )
        if self.missing:
            return missing_libraries(self.missing[0])
        return None

    def driver_too_old(self) -> bool:
        """Whether the driver is of an older major version than ONNX Runtime's CUDA.

        Within one major version any driver runs any CUDA (NVIDIA's minor version compatibility).
        """
        if self.built_for is None or self.driver_version is None:
            return False
        return self.driver_version[0] < self.built_for[0]


def cuda_obstacle(ort: Any, *, thorough: bool) -> Obstacle | None:
    """What is in the way of CUDA as far as can be told without a session. Touches no driver where ONNX Runtime has
    no CUDA, and no library of CUDA where there is no driver."""
    built_for = _built_for(ort)
    # A build whose CUDA is a plug-in lists it only once its libraries are loaded.
    if built_for is None and CUDA not in ort.get_available_providers():
        both = conflict(installed_runtimes())
        if both is not None:
            return Obstacle(f"the ONNX Runtime in use has no CUDA: {both.reason}", both.mend)
        if not cuda_is_built_for_this_platform():
            return Obstacle("ONNX Runtime has no CUDA on this platform", _INSTEAD)
        return Obstacle("the installed ONNX Runtime has no CUDA", f"run {reinstall_command()}")
    with captured():
        facts = gather_facts(built_for, lambda: _load_cuda_libraries(ort), thorough=thorough)
    return facts.obstacle()


def gather_facts(
    built_for: CudaVersion | None, load_libraries: Callable[[], tuple[str, ...]], *, thorough: bool
) -> CudaFacts:
    """Looks at what is there, cheapest first.

    Args:
        built_for: the CUDA that ONNX Runtime was built for.
        load_libraries: loads CUDA and cuDNN; gives what the loader said of each that is missing.
        thorough: start the driver, which may take seconds, even where a missing library has already decided.
    """
    facts = CudaFacts(built_for, visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"))
    driver = _load_driver()
    if driver is None:
        return facts
    facts = replace(facts, driver_found=True, driver_version=_driver_version(driver))
    if facts.driver_too_old():
        return facts
    facts = replace(facts, missing=load_libraries())
    if facts.missing and not thorough:
        return facts
    code = int(driver.cuInit(0))
    if code == _NO_DEVICE:
        return replace(facts, devices=0)
    count = ctypes.c_int()
    code = code or int(driver.cuDeviceGetCount(ctypes.byref(count)))
    if code:
        return replace(facts, driver_failure=_error_text(driver, code))
    return replace(facts, devices=count.value)


def missing_libraries(reason: str) -> Obstacle:
    """CUDA's or cuDNN's libraries are not there, or not in the version that is needed."""
    return Obstacle(f"CUDA or cuDNN libraries are missing ({reason})", f"run {install_command('capcli[cuda]')}")


def failed_session(reason: str) -> Obstacle:
    """What to make of an error that came up only when a graph was loaded or run on CUDA."""
    text = reason.lower()
    # Device errors name cuDNN too; what could not be found or loaded is told by these words.
    absent = "cannot open shared object" in text or "error 126" in text or "is not available" in text
    if absent or "cudnn is unavailable" in text:
        return missing_libraries(reason)
    if "no kernel image" in text:
        return Obstacle(f"this GPU is not supported by the installed onnxruntime-gpu ({reason})", _INSTEAD)
    if is_out_of_memory(reason):
        return Obstacle(f"the GPU's memory is full ({reason})", f"free some, use a smaller batch size, or {_INSTEAD}")
    return Obstacle(f"CUDA failed ({reason})", _INSTEAD)


def is_out_of_memory(reason: str) -> bool:
    """Whether an error says that memory, the computer's or the GPU's, was not enough."""
    text = reason.lower()
    # A thread is refused where there is no room for its stack, or there are too many.
    signs = ("out of memory", "failed to allocate memory", "bad_alloc", "bad allocation", "pthread_create failed")
    return any(words in text for words in signs)


def _built_for(ort: Any) -> CudaVersion | None:
    try:
        major, minor = str(ort.cuda_version).split(".")[:2]
        return int(major), int(minor)
    except (AttributeError, ValueError):
        return None


def _load_cuda_libraries(ort: Any) -> tuple[str, ...]:
    """Loads CUDA and cuDNN from where ONNX Runtime looks for them, the nvidia-* wheels first.

    Returns:
        What the loader said of each library that is nowhere.
    """
    missing = []
    with captured() as native:
        try:
            ort.preload_dlls()
        except Exception as error:
            missing.append(one_reason(str(error)))
    # It prints what fails; with a folder in its name a library was then still looked for elsewhere.
    missing += re.findall(r"^Failed to load [^/\\\s]+: (.+)$", native.text, re.MULTILINE)
    for library in _cudnn_libraries(ort):
        try:
            ctypes.CDLL(library)
        except OSError as error:
            missing.append(str(error))
    return tuple(missing)


def _cudnn_libraries(ort: Any) -> list[str]:
    """The cuDNN this build wants. Only the module knows; where it does not tell, the session's first run will.

    Newer builds start without cuDNN and fail at the first convolution (microsoft/onnxruntime#29252).
    """
    try:
        paths = ort._get_nvidia_dll_paths(sys.platform == "win32", False, True)
        return [path[-1] for path in paths if re.match(r"libcudnn\.so|cudnn64_", path[-1])]
    except Exception:
        return []


def _load_driver() -> ctypes.CDLL | None:
    for name in _DRIVER_LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _driver_version(driver: ctypes.CDLL) -> CudaVersion | None:
    # Answers without cuInit. 13020 is CUDA 13.2.
    version = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)) or version.value < 1000:
        return None
    return version.value // 1000, version.value % 1000 // 10


def _error_text(driver: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    if driver.cuGetErrorString(code, ctypes.byref(text)) or not text.value:
        return f"CUDA error {code}"
    return f"CUDA error {code}, {text.value.decode('utf-8', 'replace')}"


def _text(version: CudaVersion) -> str:
    return f"{version[0]}.{version[1]}"
