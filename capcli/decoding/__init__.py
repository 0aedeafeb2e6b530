"""Search for sentences: greedy and beam search over a step function, and which tokens it may not take.

NumPy only. Knows nothing of ONNX, files or images.
"""

from __future__ import annotations

from capcli.decoding.filters import caption_filters
from capcli.decoding.search import Hypothesis, SearchSettings, StepResult, TokenFilter

# `search` itself comes from capcli.decoding.search: the module has that name here.
__all__ = ["Hypothesis", "SearchSettings", "StepResult", "TokenFilter", "caption_filters"]
