"""How fast int8 is on this machine beside float32: a block of convolutions in both forms, by turns.

An encoder in int8 is several times as fast where the CPU has instructions for it, and slower where it has not, or on a
GPU; what it says is the same everywhere. Knows nothing of bundles: the block stands for every ResNet
(tests/make_block_graphs.py makes its two graphs).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from capcli.runtime.sessions import open_session

INT8 = Path(__file__).parent / "graphs" / "block_int8.onnx"
FLOAT32 = Path(__file__).parent / "graphs" / "block_float32.onnx"
# Of the block's input: those of a ResNet-50's second stage for photos of 288 pixels.
CHANNELS, SIDE = 64, 72
_BATCH = 4
# A quarter of a second on two cores; the first ones warm up.
_ROUNDS, _WARM_UP = 7, 2


@dataclass(frozen=True)
class Int8Speed:
    """How many times as fast as float32 int8 is on `provider`: the median of the rounds, and their range."""

    provider: str
    ratio: float
    low: float
    high: float


def measure_int8_speed(provider: str, threads: int | None = None) -> Int8Speed:
    """Runs the block in both forms by turns.

    Args:
        provider: "cpu", "cuda", or "auto" for CUDA where it can be used.
        threads: of the CPU; one a core by default.
    Raises:
        ProviderError: CUDA was asked for and cannot be used, or memory is not enough.
    """
    int8 = open_session(INT8, provider=provider, threads=threads)
    sessions = (int8, open_session(FLOAT32, provider=int8.provider, threads=threads))
    images = np.abs(np.random.default_rng(0).standard_normal((_BATCH, CHANNELS, SIDE, SIDE), np.float32))
    feeds = [{"images": session.upload(images)} for session in sessions]
    seconds: list[list[float]] = []
    for _ in range(_WARM_UP + _ROUNDS):
        taken = []
        for session, feed in zip(sessions, feeds, strict=True):
            begin = time.perf_counter()
            session.run(feed)
            taken.append(time.perf_counter() - begin)
        seconds.append(taken)
    ratios = [slow / fast for fast, slow in seconds[_WARM_UP:]]
    return Int8Speed(int8.provider, median(ratios), min(ratios), max(ratios))
