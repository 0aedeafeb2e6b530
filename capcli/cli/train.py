"""`capcli train`: its options are the fields of `TrainConfig`."""

from __future__ import annotations

import inspect
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from capcli.errors import UsageError
from capcli.training.config import DATA, RENAMED, DataSource, TrainConfig, by_present_names, flag_of
from capcli.training.config_file import read_toml

if TYPE_CHECKING:
    from capcli.cli.training_progress import ShownRun

_TYPES: dict[str, Any] = {
    "int": int,
    "int | None": int,
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
    that was edited or reviewed (then what was accepted or edited in it), or a folder with NAME.txt beside each image.
    Run the same command again to resume a stopped run.
    """
    if no_cache and cache is not None:
        raise UsageError("--cache and --no-cache exclude each other")
    values = by_present_names(read_toml(config), str(config)) if config is not None else {}
    data = _data_sources(images, captions, train_split, val_split)
    if data:
        values["data"] = data
    given = {name: value for name, value in settings.items() if value is not None}
    values.update(by_present_names(given, "capcli train"))
    # A file holds data tables; the command line wins over the rest of it.
    chosen = TrainConfig.from_dict(values, str(config or "capcli train"))

    from capcli.extras import need

    need("train", "capcli train")
    from capcli.training.inputs.cache_folder import cache_for_run
    from capcli.training.leftovers import none_left

    with none_left(), cache_for_run(cache, keep=not no_cache) as place, _shown(quiet) as listener:
        from capcli.training import train as run_training

        folder = run_training(chosen, out, cache=place, listener=listener)
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


def _shown(quiet: bool) -> ShownRun:
    from capcli.cli.training_progress import BarListener, LineListener, ShownRun

    if quiet:
        return ShownRun()
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
    flag = flag_of(item.name)
    if item.type == "bool":
        flag += f"/--no-{item.name.replace('_', '-')}"
    shown = item.metadata["shown"] or ("none" if item.default is None or item.default == () else item.default)
    return _parameter(
        item.name,
        _TYPES[str(item.type)] | None,
        flag,
        default=None,
        help=f"{item.metadata['help']} (default: {shown})",
        rich_help_panel=item.metadata["group"],
    )


def _earlier_name(name: str, item: Field[Any]) -> inspect.Parameter:
    """The option that a setting had before; it still works and is not shown."""
    return _parameter(name, _TYPES[str(item.type)] | None, flag_of(name), default=None, hidden=True)


def _signature() -> inspect.Signature:
    own = [
        _parameter("out", Path, "--out", default=..., help="The run's folder."),
        _parameter("config", Path | None, "--config", default=None, help="TOML file with settings."),
        _parameter(
            "images",
            list[str] | None,
            "--images",
            default=None,
            help="Folder of images. Repeatable.",
            rich_help_panel=DATA,
        ),
        _parameter(
            "captions",
            list[str] | None,
            "--captions",
            default=None,
            help="Captions of the images. Repeatable, as often as --images. Default: NAME.txt beside each image.",
            rich_help_panel=DATA,
        ),
        _parameter(
            "train_split",
            list[str] | None,
            "--train-split",
            default=None,
            help="File naming the training images.",
            rich_help_panel=DATA,
        ),
        _parameter(
            "val_split",
            list[str] | None,
            "--val-split",
            default=None,
            help="File naming the validation images.",
            rich_help_panel=DATA,
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
    settings = [item for item in fields(TrainConfig) if "help" in item.metadata]
    by_name = {item.name: item for item in settings}
    earlier = [_earlier_name(before, by_name[now]) for before, now in RENAMED.items()]
    return inspect.Signature([*own, *map(_setting, settings), *earlier])


# Typer reads options off the signature; this one is made from the settings, so that each is described once.
train.__signature__ = _signature()  # type: ignore[attr-defined]
train.__annotations__ = {name: parameter.annotation for name, parameter in _signature().parameters.items()}
