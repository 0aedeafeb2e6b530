"""Optional parts: a clear line where one is not installed."""

from __future__ import annotations

import importlib.util

from capcli.errors import DependencyError


def need_torch() -> None:
    """Training and export need PyTorch.

    Raises:
        DependencyError: it is not installed.
    """
    for module in ("torch", "onnx", "onnxscript"):
        if importlib.util.find_spec(module) is None:
            raise DependencyError(f"this command needs {module}: pip install 'capcli[train]'")
