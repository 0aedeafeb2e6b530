"""How fast captioning is on this machine: what `capcli bench` measures, as plain values.

Knows nothing of terminals, options or how the figures are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capcli.lazy import lazy_names

if TYPE_CHECKING:
    from capcli.benchmark.measure import BenchmarkSettings, measure
    from capcli.benchmark.report import Benchmark, Limit, Stage

__all__ = ["Benchmark", "BenchmarkSettings", "Limit", "Stage", "measure"]

__getattr__ = lazy_names(
    __name__,
    {
        "Benchmark": "report",
        "BenchmarkSettings": "measure",
        "Limit": "report",
        "Stage": "report",
        "measure": "measure",
    },
)
