"""`capcli train`: its options are the fields of `TrainConfig`."""

from __future__ import annotations

import inspect
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from capcli.errors import UsageError
from capcli.training.config import DataSource, TrainConfig, read_toml

if TYPE_CHECKING:
    from capcli.training.run import RunListener

_TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "str | None": str,
    "tuple[str, ...]": list[str],
}


def train(
    *,
    out: Path,
    config: Path | None,
    images: list[str] | None,
    captions: list[str] | None,
    train_split: list[str] | None,
    val_split: list[str] | None,
    cache: Path | None,
    no_cache: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Train a model of your own on photos with captions.

    Captions are read from CSV (image,caption), Flickr token files, COCO and Karpathy JSON, metadata.jsonl, a capcli CSV
    that was edited, or a folder with NAME.txt beside each image. The same command again goes on with a stopped run.
    """
    if no_cache and cache is not None:
        raise UsageError("--cache and --no-cache exclude each other")
    values = read_toml(config) if config is not None else {}
    data = _data_sources(images, captions, train_split, val_split)
    if data:
        values["data"] = data
    values.update({name: value for name, value in settings.items() if value is not None})
    # A file holds data tables; the command line wins over the rest of it.
    chosen = TrainConfig.from_dict(values, str(config or "capcli train"))

    from capcli.cli.extras import need_torch

    need_torch()
    from capcli.training.cache_folder import cache_for_run

    with cache_for_run(cache, keep=not no_cache) as place:
        from capcli.training.run import train as run_training

        folder = run_training(chosen, out, cache=place, listener=_listener(quiet))
    from capcli.cli.terminal import say

    say(f"{folder.path}: done; capcli export {folder.path} BUNDLE makes a bundle of the best epoch")


def _data_sources(
    images: list[str] | None,
    captions: list[str] | None,
    train_split: list[str] | None,
    val_split: list[str] | None,
) -> tuple[DataSource, ...]:
    """The n-th --captions, --train-split and --val-split belong to the n-th --images."""
    images = images or []
    for name, given in (("captions", captions), ("train-split", train_split), ("val-split", val_split)):
        if given and len(given) != len(images):
            raise UsageError(f"--{name} is given {len(given)} times and --images {len(images)}; give both together")

    def nth(given: list[str] | None, number: int) -> str | None:
        return given[number] if given else None

    return tuple(
        DataSource(folder, nth(captions, n), nth(train_split, n), nth(val_split, n)) for n, folder in enumerate(images)
    )


def _listener(quiet: bool) -> RunListener:
    from capcli.cli.training_progress import BarListener, LineListener
    from capcli.training.run import RunListener

    if quiet:
        return RunListener()
    return BarListener() if sys.stderr.isatty() else LineListener()


def _parameter(name: str, annotation: Any, *option: Any, default: Any, **how: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[annotation, typer.Option(*option, **how)],
    )


def _setting(item: Field[Any]) -> inspect.Parameter:
    """An option for a field; unset is None, so that a TOML file's value is not overridden by a default."""
    flag = f"--{item.name.replace('_', '-')}"
    if item.type == "bool":
        flag += f"/--no-{item.name.replace('_', '-')}"
    shown = "none" if item.default is None or item.default == () else item.default
    return _parameter(
        item.name,
        _TYPES[str(item.type)] | None,
        flag,
        default=None,
        help=f"{item.metadata['help']} [default: {shown}]",
        rich_help_panel="Settings",
    )


def _signature() -> inspect.Signature:
    own = [
        _parameter("out", Path, "--out", default=..., help="The run's folder."),
        _parameter("config", Path | None, "--config", default=None, help="TOML file with settings."),
        _parameter("images", list[str] | None, "--images", default=None, help="Folder of images. Repeatable."),
        _parameter(
            "captions",
            list[str] | None,
            "--captions",
            default=None,
            help="Captions of the images. Repeatable, as often as --images. Default: NAME.txt beside each image.",
        ),
        _parameter(
            "train_split", list[str] | None, "--train-split", default=None, help="File naming the training images."
        ),
        _parameter(
            "val_split", list[str] | None, "--val-split", default=None, help="File naming the validation images."
        ),
        _parameter(
            "cache",
            Path | None,
            "--cache",
            default=None,
            help="Folder in which features of the images are kept for later runs. "
            "Default: capcli/features in XDG_CACHE_HOME or ~/.cache.",
        ),
        _parameter(
            "no_cache",
            bool,
            "--no-cache",
            default=False,
            help="Keep features in a temporary folder (in TMPDIR) that is removed at the end.",
        ),
        _parameter("quiet", bool, "--quiet", default=False, help="Print errors only."),
    ]
    settings = [_setting(item) for item in fields(TrainConfig) if "help" in item.metadata]
    return inspect.Signature([*own, *settings])


# Typer reads options off the signature; this one is made from the settings, so that each is described once.
train.__signature__ = _signature()  # type: ignore[attr-defined]
train.__annotations__ = {name: parameter.annotation for name, parameter in _signature().parameters.items()}
