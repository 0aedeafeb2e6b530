"""Training objectives: what updates minimise, and the rewards of self-critical training.

Knows nothing of files, optimisers or epochs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capcli.lazy import lazy_names

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

# Rewards need no torch.
__getattr__ = lazy_names(
    __name__,
    {
        "check_programs": "choice",
        "objective_of": "choice",
        "CrossEntropy": "cross_entropy",
        "Loss": "objective",
        "Objective": "objective",
        "Reward": "rewards",
        "SelfCritical": "self_critical",
        "WordPresence": "word_presence",
    },
)
