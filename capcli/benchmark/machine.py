"""The machine, the libraries and the bundle's precision, in the words a figure needs beside it. Measures nothing."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from capcli.bundle.bundle import Bundle
from capcli.bundle.precision import FLOAT32, INT8
from capcli.runtime.cores import available_cores
from capcli.runtime.installation import installed_runtimes

_CPUINFO = Path("/proc/cpuinfo")
# What decides how fast ONNX Runtime multiplies int8: the flags by the kernel's names.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni")


def machine(cpuinfo: Path = _CPUINFO) -> dict[str, object]:
    """CPU model, cores and vector instructions; `flags` is None where the system does not tell them."""
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    told: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        told.setdefault(name.strip(), value.strip())
    flags = told.get("flags")
    return {
        "cpu": told.get("model name") or platform.processor() or platform.machine(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "logical_cpus": os.cpu_count() or 1,
        "usable_cores": available_cores(),
        "flags": None if flags is None else [flag for flag in _FLAGS if flag in flags.split()],
    }


def versions(capcli: str) -> dict[str, str]:
    """Versions of what the speed depends on."""
    found = {"capcli": capcli, "python": platform.python_version()}
    found["onnxruntime"] = ", ".join(map(str, installed_runtimes())) or "unknown"
    for name in ("numpy", "pillow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def precision(bundle: Bundle) -> str:
    """How the encoder computes, as the manifest has it; weights are stored as int8 in both forms."""
    return INT8 if bundle.manifest.precision.encoder == INT8 else f"{FLOAT32}, from int8 weights"
