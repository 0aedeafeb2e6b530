"""Making models: captioned photos to a run, runs to a bundle. PyTorch lives here and nowhere else.

Knows nothing of the command line; `train` tells a `TrainingListener` how it goes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capcli.training.config import DataSource, TrainConfig
    from capcli.training.export import ExportOptions, export_runs
    from capcli.training.progress import TrainingListener
    from capcli.training.run import train

__all__ = ["DataSource", "ExportOptions", "TrainConfig", "TrainingListener", "export_runs", "train"]

_MODULES = {
    "DataSource": "config",
    "TrainConfig": "config",
    "ExportOptions": "export",
    "export_runs": "export",
    "TrainingListener": "progress",
    "train": "run",
}


def __getattr__(name: str) -> Any:
    # `capcli train --help` and `capcli doctor` look at modules in here without torch (PEP 562).
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
