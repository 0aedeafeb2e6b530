"""What is to be captioned: arguments, folders and standard input, as a stream of inputs and then as RGB arrays.

Knows nothing of models, captions or outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capcli.inputs.kinds import sniff
from capcli.inputs.paths import FolderRules, InputItem, find_inputs
from capcli.lazy import lazy_names

if TYPE_CHECKING:
    from capcli.inputs.images import MAX_PIXELS, load_image

__all__ = ["MAX_PIXELS", "FolderRules", "InputItem", "find_inputs", "load_image", "sniff"]

# Reading images takes NumPy and Pillow, finding them does not.
__getattr__ = lazy_names(__name__, {"MAX_PIXELS": "images", "load_image": "images"})
