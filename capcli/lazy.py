"""Names that a package hands out and that are loaded when somebody first asks for one (PEP 562).

Knows nothing of what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """What a package's `__getattr__` is.

    Args:
        package: its `__name__`.
        modules: of each name, the module within the package that has it.
    """

    def load(name: str) -> Any:
        if name in modules:
            return getattr(import_module(f"{package}.{modules[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load
