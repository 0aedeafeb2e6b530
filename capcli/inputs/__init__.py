"""What is to be captioned: arguments, folders and standard input, as a stream of inputs and then as RGB arrays.

Knows nothing of models, captions or outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from capcli.inputs.kinds import sniff
from capcli.inputs.paths import FolderRules, InputItem, find_inputs

if TYPE_CHECKING:
    from capcli.inputs.images import MAX_PIXELS, load_image

__all__ = ["MAX_PIXELS", "FolderRules", "InputItem", "find_inputs", "load_image", "sniff"]


def __getattr__(name: str) -> Any:
    # Reading images takes NumPy and Pillow, finding them does not.
    if name in ("MAX_PIXELS", "load_image"):
        from capcli.inputs import images

        return getattr(images, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
