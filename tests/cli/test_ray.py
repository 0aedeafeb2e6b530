"""`capcli ray` takes what `capcli caption` takes, wherever it means the same."""

from __future__ import annotations

import inspect
from typing import get_type_hints

from capcli.cli.caption import caption
from capcli.cli.ray import ray

# --cpus-per-actor is its name on a cluster.
NOT_THERE = {"threads"}


def test_options_of_model_search_and_folders_are_called_as_in_caption() -> None:
    theirs, mine = inspect.signature(caption).parameters, inspect.signature(ray).parameters
    hints = get_type_hints(caption, include_extras=True)
    panels = {
        name: getattr(hint.__metadata__[0], "rich_help_panel", "") for name, hint in hints.items() if name in theirs
    }
    shared = {name for name, panel in panels.items() if panel and panel != "Output"} - NOT_THERE
    assert {"beam", "include", "workers", "model"} <= shared
    assert {name: mine[name].default for name in shared} == {name: theirs[name].default for name in shared}
    kept = get_type_hints(ray, include_extras=True)
    assert {name: kept[name].__metadata__[0].param_decls for name in shared} == {
        name: hints[name].__metadata__[0].param_decls for name in shared
    }
