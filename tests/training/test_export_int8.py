"""An int8 bundle, from photos to captions: what it is calibrated on, what is said of it, and what it keeps to."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import TINY_BUNDLE, ExportedRun, RunCommand
from tests.shapes import write_data_set

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pycocoevalcap", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

from capcli import Captioner  # noqa: E402
from capcli.bundle.bundle import read_bundle  # noqa: E402
from capcli.errors import DataError, UsageError  # noqa: E402
from capcli.training.agreement import measure_agreement  # noqa: E402
from capcli.training.calibration import FEW, choose_calibration  # noqa: E402
from capcli.training.config import DataSource, TrainConfig  # noqa: E402
from capcli.training.export import ExportOptions, ExportResult, export_runs  # noqa: E402
from capcli.training.export_source import read_source  # noqa: E402
from capcli.training.initial import first_encoder, load_model  # noqa: E402
from capcli.training.network.resnet import ResNet50  # noqa: E402
from capcli.training.onnx.quantise import quantise  # noqa: E402
from capcli.training.onnx.read import read_model  # noqa: E402
from capcli.training.photos import Photos, photos_of, read_evenly  # noqa: E402
from capcli.training.run_folder import RunFolder  # noqa: E402


@dataclass(frozen=True)
class Int8Bundle:
    """The tiny bundle in int8, and the folder of photos it was calibrated on."""

    folder: Path
    images: Path
    result: ExportResult
    notes: tuple[str, ...]

    @property
    def photos(self) -> Photos:
        photos = read_evenly(photos_of([self.images]), 48, 64)
        assert photos is not None
        return photos


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Int8Bundle:
    folder = tmp_path_factory.mktemp("int8")
    write_data_set(folder / "shapes", copies=2, size=64)
    images, notes = folder / "shapes" / "images", list[str]()
    result = export_runs(
        [TINY_BUNDLE],
        folder / "bundle",
        ExportOptions("eight", calibration_images=images),
        overwrite=False,
        note=notes.append,
    )
    return Int8Bundle(folder / "bundle", images, result, tuple(notes))


# The bundle


def test_a_caption_depends_on_neither_its_batch_nor_the_threads(int8: Int8Bundle) -> None:
    pixels = int8.photos.pixels
    said = {}
    for threads in (1, 2):
        captioner = Captioner(int8.folder, provider="cpu", threads=threads)
        settings = captioner.settings()
        for size in (1, 7, 32):
            said[threads, size] = [
                found[0]
                for first in range(0, len(pixels), size)
                for found in captioner.caption_pixels(pixels[first : first + size], settings)
            ]
    first = said.pop((1, 1))
    assert len(first) == 48 and len({caption.text for caption in first}) > 10
    for how, captions in said.items():
        assert [each.text for each in captions] == [each.text for each in first], how
        np.testing.assert_allclose([each.score for each in captions], [each.score for each in first], atol=1e-3)


def test_manifest_card_and_info_tell_of_the_precision(int8: Int8Bundle, capcli: RunCommand) -> None:
    before, after = read_bundle(TINY_BUNDLE).manifest, read_bundle(int8.folder).manifest
    # All but the encoder is the source's.
    assert replace(after, name=before.name, files=before.files, precision=before.precision) == before
    precision = after.precision
    assert precision == int8.result.precision and precision.encoder == "int8"
    assert precision.calibration is not None and precision.agreement is not None
    assert (precision.calibration.images, precision.calibration.data) == (48, ("images",))
    told = str(precision.agreement)
    card, old_card = ((folder / "MODEL_CARD.md").read_text("utf-8") for folder in (int8.folder, TINY_BUNDLE))
    assert card.startswith(old_card.rstrip()) and told in card and "on 48 photos of images" in card
    done = capcli("models", "info", int8.folder)
    assert done.code == 0
    for line in ("int8, the decoder float32", "calibrated on 48 photos of images", told):
        assert line in done.text


def test_most_captions_are_those_of_the_float32_form(int8: Int8Bundle) -> None:
    settings = Captioner(TINY_BUNDLE, provider="cpu").settings()
    references = [[Path(path).stem.replace("-", " ")] for path in int8.photos.paths]
    found = measure_agreement(TINY_BUNDLE, int8.folder, settings, int8.photos, references)
    assert found.images == 48 and 36 <= found.same < 48
    assert found.cider is not None and found.cider_float32 is not None and found.cider != found.cider_float32
    itself = measure_agreement(int8.folder, int8.folder, settings, int8.photos, references)
    assert (itself.same, itself.cider, itself.cider_float32) == (48, found.cider, found.cider)


def test_the_old_weights_come_back_within_rounding(int8: Int8Bundle, tmp_path: Path) -> None:
    """Bundle -> int8 -> a training's start -> float32."""
    old = read_model(TINY_BUNDLE).network
    begun = load_model(str(int8.folder)).network
    notes: list[str] = []
    export_runs(
        [int8.folder],
        tmp_path / "float32",
        ExportOptions("back", precision="float32", proof_images=int8.images),
        overwrite=False,
        note=notes.append,
    )
    back = read_model(tmp_path / "float32").network
    for name, weight in old.state_dict().items():
        for found in (begun.state_dict()[name], back.state_dict()[name]):
            if name.startswith("encoder.") and name.endswith("weight"):
                # 7 bits, and what other weights of the channel have to make up for.
                step = weight.flatten(1).abs().amax(1).clamp_min(1e-6) / 63
                assert ((found - weight).flatten(1).abs().mean(1) <= step).all(), name
                assert float((found - weight).norm() / weight.norm().clamp_min(1e-6)) < 0.06, name
            else:
                assert torch.allclose(found, weight, rtol=0.02, atol=0.01), name
    encoder = first_encoder(TrainConfig(encoder=str(int8.folder)))
    assert isinstance(encoder, ResNet50)
    assert all(torch.equal(each, begun.encoder.state_dict()[name]) for name, each in encoder.state_dict().items())
    assert read_bundle(tmp_path / "float32").manifest.precision.encoder == "float32"
    card = (tmp_path / "float32" / "MODEL_CARD.md").read_text("utf-8")
    assert card.count("## Precision") == 1 and "computes in float32" in card and "in int8" not in card
    kept = quantise(begun).state_dict()
    assert torch.equal(back.decoder.state_dict()["output_bias"], kept["decoder.output_bias"])


# The photos


def test_a_run_brings_the_photos_it_was_trained_on_and_those_it_held_back(exported: ExportedRun) -> None:
    notes: list[str] = []
    chosen = choose_calibration(read_source([exported.run]), None, None, notes.append)
    assert chosen.data == ("shapes",) and chosen.compared is not None and chosen.references is not None
    trained, held = set(chosen.photos.paths), set(chosen.compared.paths)
    assert not trained & held and len(trained | held) == 48
    assert all(texts and isinstance(texts[0], str) for texts in chosen.references)
    assert len(chosen.references) == len(held) == 14
    (line,) = notes
    assert f"only 34 photos to calibrate on; {FEW} or more" in line and "--calibration-images DIR" in line


def test_photos_that_are_given_take_the_place_of_the_runs(exported: ExportedRun, tmp_path: Path) -> None:
    write_data_set(tmp_path, copies=6, size=64)
    chosen = choose_calibration(read_source([exported.run]), tmp_path / "images", None, pytest.fail)
    assert len(chosen.photos.paths) >= FEW and chosen.data == ("images",)
    assert all(Path(path).parent == tmp_path / "images" for path in chosen.photos.paths)
    # What the run held back is what the two forms are compared on.
    assert chosen.references is not None and len(chosen.references) == 14


def test_a_bundle_is_compared_on_photos_that_it_was_not_calibrated_on(tmp_path: Path) -> None:
    write_data_set(tmp_path, copies=10, size=64)
    source = read_source([TINY_BUNDLE])
    chosen = choose_calibration(source, tmp_path / "images", None, pytest.fail)
    assert chosen.compared is not None and chosen.references is None
    assert not set(chosen.photos.paths) & set(chosen.compared.paths)
    (tmp_path / "proof").mkdir()
    shutil.copy(chosen.photos.paths[0], tmp_path / "proof")
    proved = choose_calibration(source, tmp_path / "images", tmp_path / "proof", pytest.fail).compared
    assert proved is not None and [Path(path).parent.name for path in proved.paths] == ["proof"]


# What is refused, before anything is written


def refused(
    sources: list[Path], target: Path, message: str, error: type[Exception] = UsageError, **options: Any
) -> None:
    with pytest.raises(error, match=message):
        export_runs(sources, target, ExportOptions("x", **options), overwrite=False, note=lambda line: None)
    assert not target.exists()


def test_without_photos_both_ways_to_give_some_are_named(exported: ExportedRun, tmp_path: Path) -> None:
    refused([TINY_BUNDLE], tmp_path / "b", "brings no photos .* export the run .* --calibration-images DIR")
    run = tmp_path / "run"
    shutil.copytree(exported.run, run)
    folder = RunFolder(run)
    gone = (DataSource(str(tmp_path / "gone"), str(tmp_path / "captions.csv")),)
    folder.write_config(replace(folder.read_config(), data=gone))
    refused([run], tmp_path / "b", "gone: no such folder.* put them back, or give .* --calibration-images DIR")
    (tmp_path / "empty").mkdir()
    for name, message in (("nowhere", "nowhere: no such folder; --calibration"), ("empty", "no readable photo in")):
        refused([run], tmp_path / "b", message, calibration_images=tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "run"]


def test_what_does_not_go_together_is_refused(exported: ExportedRun, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--precision is 'int4'; it must be int8 or float32"):
        ExportOptions("x", precision="int4")
    with pytest.raises(UsageError, match="--calibration-images goes with --precision int8"):
        ExportOptions("x", precision="float32", calibration_images=tmp_path)
    for sources in ([TINY_BUNDLE, exported.run], [exported.run, TINY_BUNDLE], [TINY_BUNDLE, TINY_BUNDLE]):
        refused(sources, tmp_path / "b", "tiny_bundle: a bundle; only runs have a mean")
    refused([tmp_path], tmp_path / "b", "not a run of capcli train", DataError)
