"""A batch of images becomes the same batch with captions. Nothing here needs Ray."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capcli import ImageError, UsageError
from capcli.caption_settings import CaptionSettings
from capcli.outputs.rows import row_format
from capcli.pipeline import PipelineSettings
from capcli.scale_out import CaptionImages
from tests.conftest import python
from tests.shapes import draw

SAID = "A red circle on a white ground."


def photo_bytes() -> bytes:
    buffer = io.BytesIO()
    draw("circle", "red", "white", 1000, 64).save(buffer, "PNG")
    return buffer.getvalue()


def column(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.fixture(scope="module")
def caption(tiny: Path) -> CaptionImages:
    return CaptionImages(model=tiny, provider="cpu")


def test_every_kind_of_image_is_captioned_and_a_bad_one_is_a_row_with_its_error(
    caption: CaptionImages, tmp_path: Path
) -> None:
    content = photo_bytes()
    path = tmp_path / "a.png"
    path.write_bytes(content)
    pixels = np.asarray(draw("circle", "red", "white", 1000, 64))
    good = [content, str(path), pixels, {"bytes": content, "path": None}, {"bytes": None, "path": str(path)}]
    bad = [b"", b"no photo", content[:100], None, str(tmp_path / "gone.png"), 3]
    batch = {"bytes": column(good + bad), "path": np.array([f"{n}" for n in range(11)]), "n": np.arange(11)}
    found = caption(batch)
    assert list(found) == ["path", "n", "caption", "score", "error", "confidence", "note"]
    assert list(found["path"]) == list(batch["path"]) and list(found["n"]) == list(range(11))
    assert list(found["caption"]) == [SAID] * 5 + [None] * 6
    assert [type(score) for score in found["score"]] == [float] * 5 + [type(None)] * 6
    assert all(round(score, 4) == score for score in found["score"][:5])
    assert list(found["error"][:5]) == [None] * 5
    assert list(found["error"][5:10]) == [
        "is empty",
        "is not an image (it looks like text)",
        "is damaged: the file ends too early",
        "has no image",
        "no such file",
    ]
    assert "an image must be a path" in found["error"][10]


def test_several_captions_are_several_rows(tiny: Path) -> None:
    settings = CaptionSettings(captions=3, raw=True)
    caption = CaptionImages("jpg", model=tiny, provider="cpu", settings=settings)
    found = caption({"jpg": column([photo_bytes(), b"x", photo_bytes()]), "__key__": column(["a", "b", "c"])})
    assert list(found["__key__"]) == ["a"] * 3 + ["b"] + ["c"] * 3
    assert list(found["rank"]) == [1, 2, 3, None, 1, 2, 3]
    assert list(found["caption"][:3]) == list(found["caption"][4:]) and found["caption"][3] is None
    assert found["caption"][0] == SAID[0].lower() + SAID[1:-1]


def test_images_are_fetched_and_what_cannot_be_is_told(caption: CaptionImages) -> None:
    def gone() -> bytes:
        raise ImageError("was taken away")

    rows = caption.rows([photo_bytes, gone, photo_bytes()])
    assert [(row.caption, row.error) for (row,) in rows] == [(SAID, None), (None, "was taken away"), (SAID, None)]


def test_one_call_goes_through_several_batches_in_order(tiny: Path, caption: CaptionImages) -> None:
    small = CaptionImages(model=tiny, provider="cpu", speed=PipelineSettings(batch_size=2, workers=3))
    images = []
    for number, colour in enumerate(["red", "blue", "green", "yellow", "red"]):
        buffer = io.BytesIO()
        draw("square", colour, "black", number, 64).save(buffer, "PNG")
        images.append(buffer.getvalue())
    assert small.rows(images) == caption.rows(images)
    assert small.rows([]) == [] and small({"bytes": column([])})["caption"].shape == (0,)


def test_it_says_what_the_rows_of_capcli_caption_say(tiny: Path) -> None:
    for captions in (1, 2):
        caption = CaptionImages(model=tiny, provider="cpu", settings=CaptionSettings(captions=captions))
        assert {"path", *caption.columns} == set(row_format("csv", ranked=captions > 1).columns)


def test_it_needs_no_ray() -> None:
    loaded = "print({'ray', 'pyarrow'} & set(sys.modules))"
    done = python(f"import sys, capcli.cli.ray, capcli.scale_out as s; s.CaptionImages; {loaded}")
    assert (done.text, done.errors) == ("set()\n", "")


def test_rows_have_confidence_and_note_what_is_below_the_least(sure: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    images = [np.asarray(draw("circle", "red", "white", 1000, 64)), noise]
    caption = CaptionImages(model=sure, provider="cpu", settings=CaptionSettings(captions=2), min_confidence=0.5)
    (best, second), unsure = caption.rows(images)
    assert best.confidence is not None and best.confidence > 0.5
    assert (second.confidence, best.note, second.note) == (None, None, None)
    assert {row.note for row in unsure} == {f"unsure: confidence {unsure[0].confidence:.4f} is below 0.5"}
    with pytest.raises(UsageError, match="a least confidence needs one: it is known for the model's own --beam"):
        CaptionImages(model=sure, provider="cpu", settings=CaptionSettings(beam=1), min_confidence=0.5)
