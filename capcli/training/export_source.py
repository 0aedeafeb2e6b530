"""What an export is made of: a finished run, the mean of several runs, or a bundle; and the photos it brings along.

Knows nothing of graphs or of how a bundle is written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capcli.bundle.bundle import MANIFEST, MATCHING, find_bundle, read_bundle
from capcli.bundle.confidence import Confidence
from capcli.dataset.captions import CaptionedImage
from capcli.errors import BundleError, DataError, UsageError
from capcli.training.config import TrainConfig
from capcli.training.data import read_data
from capcli.training.model import CaptioningModel, mean_of
from capcli.training.model_card import trained_on
from capcli.training.onnx.read import read_model
from capcli.training.run_folder import RunFolder, TrainedRun, load_trained_run

DEFAULT_TERMS = "The terms of the images and captions it was trained on; see MODEL_CARD.md."

_OLD_SCORES = "its measured scores are not kept, for another form may say other things; --scores takes new ones"


@dataclass(frozen=True)
class ExportSource:
    """A model, and what a new bundle says of it unless its maker says otherwise.

    `confidence`: what a bundle knew of how sure it is, and `matching` the file of its matching score. `config`: how it
    searches. `runs`: what it was trained in, empty for a bundle, whose own `card` goes on. `images`: folders that the
    runs were trained on. `notes`: what the runs do not agree on, and what of a bundle is not kept.
    """

    model: CaptioningModel
    config: TrainConfig
    data_sets: tuple[str, ...]
    runs: tuple[TrainedRun, ...] = ()
    images: tuple[Path, ...] = ()
    description: str = ""
    weights_terms: str = DEFAULT_TERMS
    card: str | None = None
    notes: tuple[str, ...] = ()
    confidence: Confidence | None = None
    matching: Path | None = None


@dataclass(frozen=True)
class RunImages:
    """The images that runs were trained on and those they held back, each once; `problem`: why some are not here."""

    train: tuple[CaptionedImage, ...] = ()
    held_back: tuple[CaptionedImage, ...] = ()
    problem: str | None = None


def read_source(paths: Sequence[Path]) -> ExportSource:
    """Reads a bundle, by folder or name, a run, or the mean weights of several runs, whose settings are the first's.

    Raises:
        UsageError: the runs are of two kinds, or a bundle is among several.
        DataError: not a finished run.
        BundleError: the bundle is damaged, or not one that this version builds.
    """
    bundles = [path for path in paths if not RunFolder(path).has_config and _is_bundle(path)]
    if not bundles:
        return _of_runs([load_trained_run(path) for path in paths])
    if len(paths) > 1:
        raise UsageError(f"{bundles[0]}: a bundle; only runs have a mean, export it alone")
    return _of_bundle(find_bundle(bundles[0]))


def images_of_runs(runs: Sequence[TrainedRun]) -> RunImages:
    """What the runs' captions and split files say today; photos that cannot be read are among them."""
    train: dict[Path, CaptionedImage] = {}
    held_back: dict[Path, CaptionedImage] = {}
    problem = None
    for run in runs:
        try:
            data = read_data(run.config)
        except DataError as error:
            problem = str(error)
            continue
        train |= {image.path: image for image in data.train}
        held_back |= {image.path: image for each in data.validation for image in each.images}
    return RunImages(tuple(train.values()), tuple(held_back.values()), problem)


def _is_bundle(path: Path) -> bool:
    try:
        return os.path.isfile(find_bundle(path) / MANIFEST)
    except BundleError:
        return False


def _of_bundle(folder: Path) -> ExportSource:
    model, bundle = read_model(folder), read_bundle(folder)
    manifest = bundle.manifest
    search = manifest.search
    return ExportSource(
        model,
        TrainConfig(beam=search.beam, max_length=search.max_length, length_penalty=search.length_penalty),
        manifest.trained_on,
        description=manifest.description,
        weights_terms=manifest.weights_terms,
        card=bundle.path("card").read_text("utf-8", "replace"),
        notes=(_OLD_SCORES,) if manifest.scores else (),
        confidence=bundle.confidence,
        matching=bundle.path(MATCHING) if MATCHING in manifest.files else None,
    )


def _of_runs(runs: Sequence[TrainedRun]) -> ExportSource:
    # Before the mean is taken: it is put in the place of the first run's weights.
    notes = _differences(runs)
    return ExportSource(
        mean_of([(str(run.path), run.model) for run in runs]),
        runs[0].config,
        trained_on([run.config for run in runs]),
        runs=tuple(runs),
        images=tuple(Path(source.images) for run in runs for source in run.config.data),
        notes=tuple(notes),
    )


def _differences(runs: Sequence[TrainedRun]) -> list[str]:
    """What the runs do not agree on and a mean of weights cannot settle, a line each."""
    first = runs[0]
    lines = []
    if len({run.model.input_size for run in runs}) > 1:
        sizes = ", ".join(f"{run.path} {run.model.input_size}" for run in runs)
        lines.append(
            f"the runs' images are of different sizes in pixels ({sizes}); the bundle takes {first.model.input_size}"
        )
    if any(run.model.habits != first.model.habits for run in runs):
        lines.append(f"the runs' captions differ in which words return and keep capitals; {first.path} decides")
    return lines
