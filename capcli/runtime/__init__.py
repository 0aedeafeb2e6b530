"""ONNX Runtime: sessions, execution providers, threads, and what is wrong with an installation of it.

The only room that imports onnxruntime. Knows nothing of captions, bundles or images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capcli.runtime.sessions import Session, TensorSpec, open_session, provider_report

__all__ = ["Session", "TensorSpec", "open_session", "provider_report"]


def __getattr__(name: str) -> Any:
    # Sessions take NumPy; what diagnoses a broken installation must not.
    if name in __all__:
        from capcli.runtime import sessions

        return getattr(sessions, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
