"""`capcli doctor`: what works here, what does not, and what to do about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from capcli.cli.terminal import answer
from capcli.errors import OutputError

if TYPE_CHECKING:
    from capcli.diagnosis import Check

_CANNOT_CAPTION = 3
_STYLES = {"ok": "green", "warning": "yellow", "failed": "red"}


def doctor(
    model: Annotated[str, typer.Option(help="A bundle's name or folder.")] = "default",
    provider: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    prune_cache: Annotated[
        bool, typer.Option("--prune-cache", help="Empty the cache of capcli train, and do nothing else.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Check the installation, and make a caption to prove it works."""
    if prune_cache:
        _prune_cache(as_json)
        return 0
    from capcli.diagnosis import examine

    checks = []
    for check in examine(model, provider):
        checks.append(check)
        if not as_json:
            answer(f"{check.topic:<12} {check.finding}", f"{check.state:<8} ", _STYLES[check.state])
    works = any(check.caption is not None for check in checks)
    if as_json:
        _print_json(checks, works)
    else:
        answer("A caption can be made here." if works else "No caption can be made here; see what failed.")
    return 0 if works else _CANNOT_CAPTION


def _prune_cache(as_json: bool) -> None:
    from capcli.outputs.files import why
    from capcli.training.inputs.cache_folder import default_cache, in_bytes, prune

    place = default_cache()
    try:
        pruned = prune(place)
    except OSError as error:
        raise OutputError(f"{place}: {why(error)}") from error
    if as_json:
        answer(json.dumps({"cache": str(place), "freed": pruned.size, "left": [str(path) for path in pruned.left]}))
    else:
        answer(f"{place}: freed {in_bytes(pruned.size)}")
    if pruned.left:
        reasons = "; ".join(f"{folder}: {reason}" for folder, reason in pruned.left.items())
        raise OutputError(f"not removed: {reasons}")


def _print_json(checks: list[Check], works: bool) -> None:
    from dataclasses import asdict

    answer(json.dumps({"works": works, "checks": [asdict(check) for check in checks]}))
