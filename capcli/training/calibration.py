"""The photos that an int8 encoder is calibrated on, and those on which it is compared with its float32 form.

Knows nothing of what calibrating does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from capcli.errors import UsageError
from capcli.training.export_source import ExportSource, images_of_runs
from capcli.training.photos import Photos, photos_of, read_evenly

# Twice as many change the features' error by less than a twentieth.
PHOTOS = 192
# Fewer are told of.
FEW = 100
# Enough for CIDEr to the nearest point or so; a minute's work for the shipped model on two cores.
COMPARED = 128


@dataclass(frozen=True)
class CalibrationPhotos:
    """`photos`: to calibrate on, `data` the names of their data sets. `compared`: photos that are none of these where
    there are such, None for the proof's own; `references` are theirs, where people wrote captions of them."""

    photos: Photos
    data: tuple[str, ...]
    compared: Photos | None = None
    references: tuple[tuple[str, ...], ...] | None = None


def choose_calibration(
    source: ExportSource, folder: Path | None, proof: Path | None, note: Callable[[str], None]
) -> CalibrationPhotos:
    """Reads the photos for a model.

    Args:
        source: a run brings its own training photos, and those it held back with their references.
        folder: photos to calibrate on instead; a bundle brings none.
        proof: photos to compare on where the source held none back.
        note: told where there are too few for comfort.
    Raises:
        UsageError: there is no photo to calibrate on; the message names both ways to give some.
    """
    size = source.model.input_size
    own = images_of_runs(source.runs)
    if folder is None:
        paths, data = [str(image.path) for image in own.train], source.data_sets
    else:
        if not folder.exists():
            raise UsageError(f"{folder}: no such folder; --calibration-images takes a folder of photos")
        paths, data = photos_of([folder]), (folder.resolve().name,)
    photos = read_evenly(paths, PHOTOS, size)
    if photos is None:
        raise UsageError(_none_to_calibrate_on(source, folder, own.problem))
    if len(photos.paths) < FEW:
        note(
            f"only {len(photos.paths)} photos to calibrate on; {FEW} or more, like those to be captioned, are better: "
            "--calibration-images DIR"
        )
    compared = read_evenly([str(image.path) for image in own.held_back], COMPARED, size)
    if compared is not None:
        captions = {str(image.path): image.captions for image in own.held_back}
        return CalibrationPhotos(photos, data, compared, tuple(captions[path] for path in compared.paths))
    rest = photos_of([proof]) if proof is not None else _without(paths, photos.paths)
    return CalibrationPhotos(photos, data, read_evenly(rest, COMPARED, size))


def _without(paths: Sequence[str], taken: Sequence[str]) -> list[str]:
    gone = frozenset(taken)
    return [path for path in paths if path not in gone]


def _none_to_calibrate_on(source: ExportSource, folder: Path | None, problem: str | None) -> str:
    other = "give a folder of photos with --calibration-images DIR; --precision float32 needs none"
    if folder is not None:
        return f"no readable photo in {folder} to calibrate int8 on; {other}"
    if not source.runs:
        return f"a bundle brings no photos to calibrate int8 on; export the run that it was made of, or {other}"
    why = f" ({problem})" if problem else ""
    return f"the run's training photos cannot be read to calibrate int8 on{why}; put them back, or {other}"
