"""Export: a run, the mean of several, or a bundle becomes a bundle that is shown to caption as the network does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from capcli.bundle.bundle import MANIFEST
from capcli.bundle.confidence import Confidence
from capcli.bundle.precision import FLOAT32, INT8, Calibration, Precision
from capcli.dataset.captions import CaptionedImage
from capcli.decoding.search import SearchSettings
from capcli.errors import OutputError, UsageError
from capcli.outputs.file_lock import locked_by
from capcli.outputs.files import why
from capcli.training.agreement import measure_agreement
from capcli.training.bundle_swap import put_back, swap_in
from capcli.training.bundle_writer import BundleText, BundleWriter
from capcli.training.calibration import CalibrationPhotos, choose_calibration
from capcli.training.confidence import choose_confidence
from capcli.training.config import TrainConfig
from capcli.training.export_source import DEFAULT_TERMS, ExportSource, read_source
from capcli.training.model_card import export_day, model_card, read_card, with_precision
from capcli.training.photos import Photos
from capcli.training.proof import prove, read_proof_images

__all__ = ["DEFAULT_TERMS", "ExportOptions", "ExportResult", "export_runs"]


@dataclass(frozen=True)
class ExportOptions:
    """What a bundle says of itself beyond what its source knows; None for what the source says.

    `precision`: how its encoder computes, "int8" or "float32". `calibration_images`: a folder of photos to find int8
    ranges on, None for the run's training photos. `proof_images`: a folder of images to verify it on, None for the
    run's own. `validation`: photos with captions to fit the confidence on, None for those the run held back. `beam`,
    `length_penalty`: its search settings.
    """

    name: str
    description: str | None = None
    weights_terms: str | None = None
    card: Path | None = None
    scores: tuple[dict[str, Any], ...] = ()
    precision: str = INT8
    calibration_images: Path | None = None
    proof_images: Path | None = None
    validation: tuple[CaptionedImage, ...] | None = None
    beam: int | None = None
    length_penalty: float | None = None

    def __post_init__(self) -> None:
        if self.precision not in (INT8, FLOAT32):
            raise UsageError(f"--precision is {self.precision!r}; it must be {INT8} or {FLOAT32}")
        if self.precision == FLOAT32 and self.calibration_images is not None:
            raise UsageError("--calibration-images goes with --precision int8")

    def search_settings(self, config: TrainConfig) -> SearchSettings:
        """How a bundle of a run with these settings searches.

        Raises:
            UsageError: a value is out of range.
        """
        chosen: dict[str, Any] = {"beam": self.beam, "length_penalty": self.length_penalty}
        # TrainConfig names the option that is out of range.
        config = replace(config, **{name: value for name, value in chosen.items() if value is not None})
        return SearchSettings(config.beam, config.max_length, config.length_penalty)


@dataclass(frozen=True)
class ExportResult:
    """The bundle that was written: its size in bytes, how many images verified it, how many of them tied, how its
    encoder computes, and how sure it is of a caption, None where that is not known."""

    folder: Path
    size: int
    verified: int
    ties: int
    precision: Precision
    confidence: Confidence | None


def export_runs(
    sources: Sequence[Path], bundle: Path, options: ExportOptions, *, overwrite: bool, note: Callable[[str], None]
) -> ExportResult:
    """Writes the best checkpoint of a run, the mean weights of several runs' best, or another bundle, as a bundle.

    Settings come from the first run.

    The bundle is made beside its final place and moved there only after its float32 form captioned real images as the
    PyTorch network holding the same rounded weights does, word for word and score for score. How far int8 then
    takes it from that form is measured, and kept in manifest and card. How sure it is of a caption is fitted last,
    on what this very bundle says of validation photos, see `choose_confidence`. A bundle that was there is removed
    last; a kill at the moment of the exchange leaves it in `.NAME.capcli-old` beside, from where the next export to
    that place puts it back.

    Args:
        sources: folders of runs, or one bundle by folder or name.
    Raises:
        UsageError: the folder exists and `overwrite` is false, or holds something else; the runs are of two kinds; an
            option is out of range or names a file that cannot be read; or there is no photo to calibrate int8 on.
        DataError: not a finished run, or no image to verify the bundle on.
        BundleError: the bundle to export is damaged, or not one that this version builds.
        CapcliError: bundle and network disagree.
        OutputError: the bundle cannot be written.
    """
    # A link stays one: what it leads to is replaced.
    place = Path(os.path.realpath(bundle))
    with ExitStack() as stack:
        try:
            taken = stack.enter_context(locked_by(place.with_name(f".{place.name}.capcli-lock")))
        except OSError as error:
            raise OutputError(f"{bundle}: cannot be written ({why(error)})") from error
        if not taken:
            raise OutputError(f"{bundle}: is being written by another capcli export; choose another folder")
        return _export(sources, bundle, place, options, overwrite=overwrite, note=note)


def _export(
    sources: Sequence[Path],
    bundle: Path,
    place: Path,
    options: ExportOptions,
    *,
    overwrite: bool,
    note: Callable[[str], None],
) -> ExportResult:
    if put_back(place):
        note(f"{bundle}: an export was killed as it replaced this bundle; put back")
    _check_place(bundle, overwrite)
    if options.proof_images is not None and not options.proof_images.exists():
        raise UsageError(f"{options.proof_images}: no such folder; --proof-images takes a folder of photos")
    card = None if options.card is None else read_card(options.card)
    day = export_day()
    source = read_source(sources)
    text = _text_of(source, options, card, day)
    for line in source.notes:
        note(line)
    calibration = None
    if options.precision == INT8:
        calibration = choose_calibration(source, options.calibration_images, options.proof_images, note)
    images = _proof_images(source, options)
    # Always under one name: an export that was killed has left its own there.
    work = place.with_name(f".{place.name}.capcli-new")
    try:
        if os.path.lexists(work):
            shutil.rmtree(work)
        work.mkdir(mode=0o700)
    except OSError as error:
        raise OutputError(f"{bundle}: cannot be written ({why(error)})") from error
    try:
        note("writing the graphs")
        writer, made = BundleWriter(source.model, text), work / FLOAT32
        writer.write_float32(made)
        note(f"captioning {len(images.paths)} images with the network and with the bundle")
        ties = prove(made, writer.rounded, text.settings, images)
        precision = Precision()
        if calibration is not None:
            made, precision = _in_int8(writer, made, calibration, calibration.compared or images, text.settings, note)
        confidence = choose_confidence(made, source, options.validation, note)
        writer.describe(made, precision, confidence)
        size = sum(file.stat().st_size for file in made.iterdir())
        # What has come up since is somebody's.
        _check_place(bundle, overwrite)
        left = swap_in(made, place)
    except OSError as error:
        raise OutputError(f"{bundle}: cannot be written ({why(error)})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if left is not None:
        note(f"{left}: the old bundle cannot be removed; delete it")
    return ExportResult(bundle, size, len(images.paths), ties, precision, confidence)


def _check_place(bundle: Path, overwrite: bool) -> None:
    if not bundle.exists():
        return
    if not overwrite:
        raise UsageError(f"{bundle}: exists; use --overwrite or choose another folder")
    # What is not a bundle is never deleted: somebody's folder may have been named by mistake.
    if not (bundle / MANIFEST).is_file() and not (bundle.is_dir() and not any(bundle.iterdir())):
        raise UsageError(f"{bundle}: not a bundle, so not replaced; choose another folder")


def _proof_images(source: ExportSource, options: ExportOptions) -> Photos:
    if options.proof_images is not None:
        places = [options.proof_images]
    else:
        # What calibrates proves too where a run's own photos are gone, and for a bundle, which has none.
        own = [folder for folder in source.images if folder.exists()]
        given = [options.calibration_images] if options.calibration_images is not None else []
        places = own or given or list(source.images)
    return read_proof_images(places, source.model.input_size)


def _in_int8(
    writer: BundleWriter,
    float32: Path,
    calibration: CalibrationPhotos,
    compared: Photos,
    settings: SearchSettings,
    note: Callable[[str], None],
) -> tuple[Path, Precision]:
    """Writes the int8 form beside the float32 one, and says how far they agree."""
    made = float32.with_name(INT8)
    writer.write_int8(made, float32, calibration.photos, note)
    note(f"captioning {len(compared.paths)} photos in float32 and in int8")
    agreement = measure_agreement(float32, made, settings, compared, calibration.references)
    return made, Precision(INT8, Calibration(len(calibration.photos.paths), calibration.data), agreement)


def _text_of(source: ExportSource, options: ExportOptions, card: bytes | None, day: date) -> BundleText:
    description = source.description if options.description is None else options.description
    terms = source.weights_terms if options.weights_terms is None else options.weights_terms

    def card_of(precision: Precision) -> bytes:
        if card is not None:
            return card
        own = source.card
        if own is None:
            own = model_card(source.runs, options.name, description, terms, day)
        return with_precision(own, precision).encode("utf-8")

    settings = options.search_settings(source.config)
    return BundleText(options.name, description, terms, source.data_sets, options.scores, settings, card_of)
