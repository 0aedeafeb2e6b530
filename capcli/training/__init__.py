"""Making models: captioned photos to a run, runs to a bundle. PyTorch lives here and nowhere else.

Knows nothing of the command line; `train` tells a `TrainingListener` how it goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capcli.lazy import lazy_names

if TYPE_CHECKING:
    from capcli.training.config import DataSource, TrainConfig
    from capcli.training.export import ExportOptions, export_runs
    from capcli.training.progress import TrainingListener
    from capcli.training.run import train

__all__ = ["DataSource", "ExportOptions", "TrainConfig", "TrainingListener", "export_runs", "train"]

# `capcli train --help` and `capcli doctor` look at modules in here without torch.
__getattr__ = lazy_names(
    __name__,
    {
        "DataSource": "config",
        "TrainConfig": "config",
        "ExportOptions": "export",
        "export_runs": "export",
        "TrainingListener": "progress",
        "train": "run",
    },
)
