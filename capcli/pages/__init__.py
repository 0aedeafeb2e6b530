"""HTML pages: templates, the one style sheet, and the one content-security policy of all of them.

Knows nothing of models, scores or the command line: what a page shows is given to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capcli.lazy import lazy_names

if TYPE_CHECKING:
    from capcli.pages.rendering import picture_uri, render

__all__ = ["picture_uri", "render"]

# Pages take Jinja2, which is an extra.
__getattr__ = lazy_names(__name__, {"picture_uri": "rendering", "render": "rendering"})
