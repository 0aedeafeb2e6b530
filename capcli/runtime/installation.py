"""Which ONNX Runtime distributions are installed, and the commands that mend an installation.

Several distributions own the one module `onnxruntime` and overwrite each other's files. Knows only their names:
loads nothing of them.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

# Everything on the package index whose files lie in `onnxruntime/`.
_RUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
    "onnxruntime-migraphx",
    "onnxruntime-training",
    "ort-nightly",
    "ort-nightly-gpu",
)


@dataclass(frozen=True)
class Distribution:
    """An installed distribution."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Obstacle:
    """Why something cannot be used, and what mends it."""

    reason: str
    mend: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.mend}"


def installed_runtimes() -> tuple[Distribution, ...]:
    """The distributions that are installed and own the module `onnxruntime`; more than one is one too many."""
    # Captions are made without it, and it takes as long to load as Pillow does.
    from importlib import metadata

    found = []
    for name in _RUNTIMES:
        try:
            found.append(Distribution(name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


def cuda_is_built_for_this_platform() -> bool:
    """Whether onnxruntime-gpu is published for this platform (the markers of pyproject.toml)."""
    return (sys.platform, platform.machine()) in (("linux", "x86_64"), ("win32", "AMD64"))


def right_runtime() -> str:
    """The distribution that capcli depends on here."""
    return "onnxruntime-gpu" if cuda_is_built_for_this_platform() else "onnxruntime"


def install_command(*requirements: str) -> str:
    """A shell command that installs requirements beside capcli."""
    return _pip("install", *requirements)


def reinstall_command() -> str:
    """A shell command that leaves exactly the right ONNX Runtime, whatever is there now."""
    present = [runtime.name for runtime in installed_runtimes()]
    names = dict.fromkeys(("onnxruntime", "onnxruntime-gpu", *present))
    # Installing over what is there would not do: the files of one distribution are then recorded for two.
    return f"{_pip('uninstall', '-y', *names)} && {_pip('install', right_runtime())}"


def conflict(distributions: Sequence[Distribution]) -> Obstacle | None:
    """What is wrong with having these distributions; None if they are one at most."""
    if len(distributions) < 2:
        return None
    names = " and ".join(str(distribution) for distribution in distributions)
    return Obstacle(f"{names} are both installed and overwrite each other's files", f"run {reinstall_command()}")


def _pip(action: str, *words: str) -> str:
    if importlib.util.find_spec("pip") is not None:
        return _shell(sys.executable, "-m", "pip", action, *words)
    # Environments made by uv hold no pip, and uv never asks.
    return _shell("uv", "pip", action, "--python", sys.executable, *(word for word in words if word != "-y"))


def _shell(*words: str) -> str:
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
