"""`capcli bench`: how fast captioning is here, beside the limits that capcli holds itself to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from capcli.cli.run_control import check_counts
from capcli.cli.terminal import answer, say
from capcli.errors import UsageError
from capcli.messages import shortened

if TYPE_CHECKING:
    from capcli.benchmark.report import Benchmark, Limit


def bench(
    photos: Annotated[
        list[str] | None, typer.Argument(help="Photos and folders to measure on. Default: generated photos.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Measure on this many photos at most.")] = 96,
    rounds: Annotated[int, typer.Option(help="How often each measurement is made; medians are shown.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not say what is being done.")] = False,
    model: Annotated[str, typer.Option(help="A bundle's name or folder.")] = "default",
    provider: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    batch_size: Annotated[int | None, typer.Option(help="Images in hand at a time. Default: a run's own.")] = None,
    workers: Annotated[int, typer.Option(help="Threads that read and decode images.")] = 2,
    threads: Annotated[int | None, typer.Option(help="CPU threads for the model. Default: one for each core.")] = None,
) -> int:
    """Measure how fast captioning is here, stage by stage and against its targets. Takes a minute or two."""
    check_counts(limit=limit, rounds=rounds, batch_size=batch_size, workers=workers, threads=threads)
    paths = _photos(photos or [], limit)

    from capcli import __version__
    from capcli.benchmark.measure import BenchmarkSettings, measure

    settings = BenchmarkSettings(model, provider, threads, batch_size, workers, limit, rounds)
    found = measure(paths, settings, __version__, (lambda line: None) if quiet else say)
    for line in [json.dumps(found.as_dict())] if as_json else _lines(found):
        answer(line)
    return 0


def _photos(arguments: list[str], limit: int) -> list[str]:
    """The first photos that the arguments name; none where there are no arguments."""
    from capcli.inputs.paths import FolderRules, find_inputs

    if "-" in arguments:
        raise UsageError("capcli bench reads photos several times; name files or folders, not -")
    found = list(islice(find_inputs(arguments, FolderRules()), limit))
    if arguments and not found:
        raise UsageError(f"no image found in {', '.join(map(shortened, arguments))}")
    for item in found:
        if item.error is not None:
            say(f"{item.path}: {item.error}")
    paths = [item.path for item in found if item.error is None]
    if arguments and not paths:
        raise UsageError("none of the photos can be read")
    return paths


def _lines(found: Benchmark) -> Iterator[str]:
    machine, model, photos = found.machine, found.model, found.photos
    flags = "flags unknown" if machine["flags"] is None else " ".join(machine["flags"]) or "no AVX2"
    yield f"machine    {machine['cpu']}, {machine['usable_cores']} cores, {flags}"
    yield "versions   " + ", ".join(f"{name} {version}" for name, version in found.versions.items())
    yield (
        f"model      {model['name']} on {model['provider']}, {model['precision']}; {model['threads']} threads, "
        f"{model['lanes']} lanes, batch size {model['batch_size']}, beam {model['beam']}"
    )
    kind = "generated photos, 500 x 375" if photos["generated"] else "photos"
    unread = f" ({photos['unreadable']} more cannot be read)" if photos["unreadable"] else ""
    yield f"photos     {photos['measured']} {kind}{unread}; medians of {photos['rounds']} rounds"
    yield ""
    yield f"{'stage':<10} {'photos/s':>9} {'ms a photo':>11} {'share':>6}"
    for stage in found.stages:
        yield f"{stage.stage:<10} {1 / stage.seconds:>9.1f} {1000 * stage.seconds:>11.2f} {100 * stage.share:>4.0f} %"
    rate = found.photos_per_second
    yield f"{'whole run':<10} {rate:>9.1f} {1000 / rate:>11.2f}"
    yield ""
    wide = max(len(limit.what) for limit in found.limits)
    yield f"{'limit':<{wide}}  {'here':>8} {'range':>15}  {'target':>10}"
    for limit in found.limits:
        here, met = _value(limit, limit.value), "met" if limit.met else "missed"
        yield f"{limit.what:<{wide}}  {here:>8} {_range(limit):>15}  {_target(limit):>10}  {met}"
    for key, reason in found.left_out.items():
        yield f"not measured: {key} ({reason})"


def _value(limit: Limit, value: float) -> str:
    return f"{value:.0f} MB" if limit.unit == "MB" else f"{value:.2f} x"


def _range(limit: Limit) -> str:
    return f"{_value(limit, limit.low).split()[0]} to {_value(limit, limit.high).split()[0]}"


def _target(limit: Limit) -> str:
    return ("<= " if limit.at_most else ">= ") + _value(limit, limit.target)
