"""`capcli models`: which bundles are here, what one is, whether it is whole."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from capcli.cli.commands import Command
from capcli.cli.terminal import answer, say
from capcli.errors import BundleError, UsageError

if TYPE_CHECKING:
    from capcli.bundle.catalogue import BundleFacts, FoundBundle
    from capcli.bundle.confidence import Confidence
    from capcli.bundle.precision import Precision

_LABEL, _LINE = 13, 110

models = typer.Typer(
    help="List, describe and verify models.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
_Model = Annotated[str, typer.Argument(metavar="[NAME|FOLDER]", help="A bundle's name or folder.", show_default=True)]


@models.callback(invoke_without_command=True)
def _without_command(context: typer.Context, as_json: _Json = False) -> None:
    """Which models are here, what one is, whether it is whole. Alone it is `capcli models list`."""
    if context.invoked_subcommand is None:
        list_models(as_json)
    elif as_json:
        raise UsageError(f"--json goes after {context.invoked_subcommand}")


@models.command("list", cls=Command)
def list_models(as_json: _Json = False) -> None:
    """List every model that --model can name, and where it lies."""
    from capcli.bundle.catalogue import found_bundles, search_places

    bundles = found_bundles()
    if not bundles:
        looked = ", ".join(str(place.folder) for place in search_places())
        raise BundleError(f"no bundle found; looked in {looked}; install capcli again")
    if as_json:
        for bundle in bundles:
            answer(json.dumps(asdict(bundle), default=str))
        return
    rows = [("NAME", "SIZE", "FOLDER"), *(_row(bundle) for bundle in bundles)]
    name, size, _ = (max(len(row[column]) for row in rows) for column in range(3))
    for row in rows:
        answer(f"{row[0]:<{name}}  {row[1]:>{size}}  {row[2]}")
    for bundle in bundles:
        if bundle.problem is not None:
            say(bundle.problem)


@models.command("info", cls=Command)
def info(model: _Model = "default", as_json: _Json = False) -> None:
    """Describe a model: licence and terms, sizes, precision, settings, confidence, training data, scores."""
    from capcli.bundle.catalogue import describe_bundle

    facts = describe_bundle(model)
    if as_json:
        answer(json.dumps(asdict(facts), default=str))
        return
    for line in _lines(facts):
        answer(line)


@models.command("verify", cls=Command)
def verify(model: _Model = "default") -> None:
    """Check a model as loading it does: manifest, sizes, sha256, graph inputs and outputs."""
    from capcli.captioner import Captioner

    # The check is the loading itself; where it would run makes no difference to it.
    bundle = Captioner(model, provider="cpu", threads=1).bundle
    files = bundle.manifest.files.values()
    size = _size(sum(file.size for file in files))
    answer(f"{bundle.folder}: ok: {len(files)} files, {size}, as its manifest says; both graphs load and fit")


def _row(bundle: FoundBundle) -> tuple[str, str, str]:
    folder = str(bundle.folder)
    if bundle.hidden_by is not None:
        folder += f"  (the name means {bundle.hidden_by})"
    return bundle.name, "damaged" if bundle.size is None else _size(bundle.size), folder


def _lines(facts: BundleFacts) -> Iterator[str]:
    """Label and value, aligned; prose is folded, paths never are."""
    search = facts.search
    yield from _labelled("name", facts.name)
    yield from _labelled("description", *_folded(facts.description))
    yield from _labelled("format", str(facts.format))
    yield from _labelled("folder", str(facts.folder))
    yield from _labelled("code", facts.code_licence)
    yield from _labelled("weights", *_folded(facts.weights_terms))
    if facts.terms is not None:
        yield from _labelled("terms", *_folded(facts.terms))
    yield from _labelled("input", f"{facts.input_size} x {facts.input_size} pixels, {_resize(facts.resize)}")
    yield from _labelled("precision", *_precision(facts.precision))
    yield from _labelled("vocabulary", f"{facts.vocabulary} tokens")
    yield from _labelled(
        "search", f"beam {search.beam}, at most {search.max_length} words, length penalty {search.length_penalty}"
    )
    yield from _labelled("confidence", *_folded(_confidence(facts.confidence)))
    yield from _labelled("trained on", *_folded(", ".join(facts.trained_on) or "not said"))
    yield from _labelled("scores", *([_score(score) for score in facts.scores] or ["none in the manifest"]))
    widest = max(len(file.path) for file in facts.files)
    files = [f"{file.path:<{widest}}  {_size(file.size):>8}" for file in facts.files]
    yield from _labelled("files", *files, f"{'in all':<{widest}}  {_size(facts.size):>8}")
    yield from _labelled("card", str(facts.card))


def _precision(precision: Precision) -> Iterator[str]:
    """How the encoder computes, then what is known of it."""
    yield f"{precision.encoder}, the decoder float32; weights are stored as int8"
    if precision.calibration is not None:
        data = ", ".join(precision.calibration.data)
        yield f"calibrated on {precision.calibration.images} photos" + (f" of {data}" if data else "")
    if precision.agreement is not None:
        yield str(precision.agreement)


def _confidence(confidence: Confidence | None) -> str:
    if confidence is None:
        return "none: captions do not say how sure it is"
    span = ""
    if confidence.lowest is not None and confidence.highest is not None:
        span = f", which have {confidence.lowest:.2f} to {confidence.highest:.2f}"
    choice = f"; chooses among a beam's captions, and counts {confidence.choice:g}" if confidence.choice else ""
    return f"fitted on {confidence.photos} photos{span}; from {', '.join(sorted(confidence.signals))}{choice}"


def _labelled(label: str, *values: str) -> Iterator[str]:
    for number, value in enumerate(values):
        yield f"{'' if number else label:<{_LABEL}}{value}"


def _folded(text: str) -> list[str]:
    return textwrap.wrap(text, _LINE - _LABEL, break_long_words=False, break_on_hyphens=False)


def _resize(mode: str) -> str:
    return "squash (without keeping the aspect ratio)" if mode == "squash" else mode


def _score(score: Mapping[str, Any]) -> str:
    """One line; a bundle made elsewhere may have measured other things."""
    about = [str(score[key]) for key in ("data", "tokeniser") if key in score]
    if "images" in score:
        about.insert(0, f"{score['images']} images")
    metrics = [
        f"{'CIDEr' if key == 'cider' else key.upper().replace('_', '-')} {value:.1f}"
        for key, value in score.items()
        if key != "images" and isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    return ", ".join(metrics) + (f" ({', '.join(about)})" if about else "")


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"
