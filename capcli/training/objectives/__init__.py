"""Training objectives: what updates minimise, and the rewards of self-critical training.

Knows nothing of files, optimisers or epochs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capcli.training.objectives.choice import check_programs, objective_of
    from capcli.training.objectives.cross_entropy import CrossEntropy
    from capcli.training.objectives.objective import Loss, Objective
    from capcli.training.objectives.rewards import Reward
    from capcli.training.objectives.self_critical import SelfCritical
    from capcli.training.objectives.word_presence import WordPresence

__all__ = [
    "CrossEntropy",
    "Loss",
    "Objective",
    "Reward",
    "SelfCritical",
    "WordPresence",
    "check_programs",
    "objective_of",
]

_MODULES = {
    "check_programs": "choice",
    "objective_of": "choice",
    "CrossEntropy": "cross_entropy",
    "Loss": "objective",
    "Objective": "objective",
    "Reward": "rewards",
    "SelfCritical": "self_critical",
    "WordPresence": "word_presence",
}


def __getattr__(name: str) -> Any:
    # Rewards need no torch (PEP 562).
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
