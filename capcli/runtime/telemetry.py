"""Keeps ONNX Runtime from reporting to Microsoft, and from leaving an identifier and a database in the home folder.

Since version 1.29 its builds for Linux and macOS do both, unless the environment says otherwise before it is loaded
(github.com/microsoft/onnxruntime/pull/27379); builds for Windows have a function for it. Imports nothing of it.
"""

from __future__ import annotations

import os

# The second is what versions in between called the first (pull 29843 there).
_NAMES = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")


def disable_telemetry() -> None:
    """To be called before `onnxruntime` is imported, by whatever imports it; processes started later inherit it."""
    for name in _NAMES:
        os.environ[name] = "1"
