"""`capcli doctor`: what works here, what does not, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from capcli.cli.terminal import answer

if TYPE_CHECKING:
    from capcli.diagnosis import Check

_CANNOT_CAPTION = 3
_STYLES = {"ok": "green", "warning": "yellow", "failed": "red"}


def doctor(
    model: Annotated[str, typer.Option(help="A bundle's name or folder.")] = "default",
    provider: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Check the installation, and make a caption to prove it works."""
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


def _print_json(checks: list[Check], works: bool) -> None:
    import json
    from dataclasses import asdict

    answer(json.dumps({"works": works, "checks": [asdict(check) for check in checks]}))
