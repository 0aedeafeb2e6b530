"""ONNX Runtime: sessions, execution providers, threads, and what is wrong with an installation of it.

The only room that imports onnxruntime. Knows nothing of captions, bundles or images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capcli.lazy import lazy_names

if TYPE_CHECKING:
    from capcli.runtime.sessions import Session, TensorSpec, open_session, provider_report

__all__ = ["Session", "TensorSpec", "open_session", "provider_report"]

# Sessions take NumPy; what diagnoses a broken installation must not.
__getattr__ = lazy_names(__name__, dict.fromkeys(__all__, "sessions"))
