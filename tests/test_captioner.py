"""The Python API, on the tiny bundle and on the shipped one."""

from __future__ import annotations

import codecs
import hashlib
import io
import itertools
import json
import os
import pickle
import re
import shutil
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import capcli
from capcli import BundleError, Caption, Captioner, ImageError, UsageError
from capcli.bundle.bundle import SearchDefaults, describe_file, load_bundle, read_bundle, write_manifest
from capcli.bundle.confidence import SignalWeight
from capcli.bundle.habits import Habits
from capcli.decoding.search import SearchSettings
from capcli.opening import OpeningModel
from tests.photos import photo_array, write_photo
from tests.shapes import COLOURS, GROUNDS, SHAPES, draw, sentence_for


@pytest.fixture(scope="module")
def shipped() -> Captioner:
    return Captioner(provider="cpu")


OLDER_DECODER = Path(__file__).parent / "older_decoder.onnx"
ALL = [(shape, colour, ground) for shape in SHAPES for colour in COLOURS for ground in GROUNDS]


def test_the_tiny_bundle_says_what_it_sees(captioner: Captioner) -> None:
    images = [draw(*what, seed=1000, size=64) for what in ALL]
    said = captioner.caption(images)
    right = sum(caption.raw == sentence_for(*what) for caption, what in zip(said, ALL, strict=True))
    # One in 24 by chance.
    assert right >= len(ALL) / 2


def test_a_photo_in_any_form_gets_the_same_caption(captioner: Captioner, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "photo.png", "coffee")
    content = photo.read_bytes()
    with Image.open(photo) as opened:
        array = np.asarray(opened.convert("RGB"))
        forms: list[Any] = [photo, str(photo), content, io.BytesIO(content), array, opened]
        captions = [captioner.caption(form) for form in forms]
    assert len({(caption.text, round(caption.score, 5)) for caption in captions}) == 1


def test_one_image_gives_a_caption_and_several_a_list(captioner: Captioner) -> None:
    image = draw("circle", "red", "white", 1)
    one = captioner.caption(image)
    assert isinstance(one, Caption)
    assert str(one) == one.text
    assert [str(caption) for caption in captioner.caption([image])] == [one.text]
    assert captioner.caption(np.stack([np.asarray(image)] * 2)) == [one, one]
    assert captioner.caption([]) == []
    assert captioner.caption(iter([image, image])) == [one, one]


def test_a_caption_holds_its_words_and_its_probability(captioner: Captioner) -> None:
    caption = captioner.caption(draw("circle", "red", "white", 1))
    assert caption.raw == " ".join(caption.tokens)
    assert caption.text == caption.raw.capitalize() + "."
    assert caption.score == pytest.approx(caption.log_prob / (len(caption.tokens) + 1))
    assert -5 < caption.score <= 0


def test_candidates_differ_and_come_best_first(captioner: Captioner) -> None:
    image = draw("square", "green", "black", 1)
    found = captioner.candidates(image, 4, length_penalty=1.0)
    assert len({caption.tokens for caption in found}) == 4
    assert [caption.score for caption in found] == sorted((caption.score for caption in found), reverse=True)
    assert found[0] == captioner.caption(image, length_penalty=1.0, beam=4)


def test_a_wider_beam_never_scores_below_greedy_search(captioner: Captioner) -> None:
    images = [draw(*what, seed=7) for what in ALL]
    greedy = captioner.caption(images, beam=1, length_penalty=0.0)
    for beam in (2, 5):
        for one, other in zip(greedy, captioner.caption(images, beam=beam, length_penalty=0.0), strict=True):
            assert other.log_prob >= one.log_prob - 1e-4


@given(order=st.permutations(range(12)), size=st.integers(1, 12), threads=st.sampled_from([1, 2, 3]))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_caption_does_not_depend_on_its_batch_or_on_threads(
    captioner: Captioner, tiny: Path, order: list[int], size: int, threads: int
) -> None:
    images = [np.asarray(draw(*ALL[n], seed=3, size=64)) for n in range(12)]
    wanted = [captioner.caption(image) for image in images]
    other = Captioner(tiny, provider="cpu", threads=threads)
    search = other.settings()
    for begin in range(0, 12, size):
        rows = order[begin : begin + size]
        for row, (found, *_) in zip(
            rows, other.caption_pixels(np.stack([images[r] for r in rows]), search), strict=True
        ):
            assert found.text == wanted[row].text
            assert abs(found.score - wanted[row].score) < 1e-3


def test_words_are_given_on_request_each_with_its_probability_and_where_the_model_looked(captioner: Captioner) -> None:
    image = draw("circle", "red", "white", 1)
    plain, caption = captioner.caption(image), captioner.caption(image, details=True)
    assert plain.words is None
    assert caption.words is not None
    assert [word.text for word in caption.words] == [*caption.tokens, ""]
    assert abs(np.mean([word.log_prob for word in caption.words]) - caption.score) < 1e-9
    looks = [word.attention for word in caption.words if word.attention is not None]
    assert [look.shape for look in looks] == [(2, 2)] * len(caption.words)
    np.testing.assert_allclose(np.sum(looks, axis=(1, 2)), 1, rtol=1e-4)
    assert not np.allclose(looks[0], looks[-1])
    # Where it looks as it begins does not depend on how it ends.
    several = captioner.candidates(image, 4, details=True)
    first = [each.words[0].attention for each in several if each.words and each.words[0].attention is not None]
    assert len(first) == 4 and all(np.allclose(look, looks[0], atol=1e-5) for look in first)
    (other,) = captioner.candidates(image, 1, details=True)
    (streamed,) = captioner.stream([image], details=True)
    for again in (other, streamed.captions[0]):
        assert [word.log_prob for word in again.words or ()] == [word.log_prob for word in caption.words]


@pytest.fixture(scope="module")
def sure_captioner(sure: Path) -> Captioner:
    return Captioner(sure, provider="cpu")


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_confidence_goes_by_the_picture(sure_captioner: Captioner) -> None:
    shapes = [np.asarray(draw(*ALL[n], seed=7, size=64)) for n in range(0, 24, 4)]
    sure, unsure = (
        [each.confidence for each in sure_captioner.caption(some)] for some in (shapes, [noise(1), noise(2)])
    )
    assert all(each is not None and each > 0.5 for each in sure)
    assert len({round(each or 0, 4) for each in sure}) > 3
    assert all(each is not None and each < 0.5 for each in unsure)


@pytest.mark.parametrize(("batch", "captions", "details"), [(1, 1, False), (3, 3, False), (8, 2, True)])
def test_confidence_is_one_value_a_photo_whatever_else_is_asked_for(
    sure_captioner: Captioner, batch: int, captions: int, details: bool
) -> None:
    images = [np.asarray(draw(*ALL[n], seed=n, size=64)) for n in range(8)] + [noise(3)]
    alone = [sure_captioner.caption(image).confidence for image in images]
    results = list(sure_captioner.stream(images, batch_size=batch, captions=captions, details=details))
    assert len(results) == len(images)
    for result, wanted in zip(results, alone, strict=True):
        assert result.captions[0].confidence == pytest.approx(wanted, abs=1e-3)
        assert [other.confidence for other in result.captions[1:]] == [None] * (captions - 1)


@pytest.mark.parametrize("setting", [{"beam": 2}, {"max_length": 11}, {"length_penalty": 0.5}])
def test_confidence_is_of_the_model_s_own_search_alone(sure_captioner: Captioner, setting: dict[str, Any]) -> None:
    image = draw("circle", "red", "white", 1)
    assert sure_captioner.caption(image, **setting).confidence is None
    own = sure_captioner.bundle.manifest.search
    named = {name: getattr(own, name) for name in setting}
    assert sure_captioner.caption(image, **named).confidence == sure_captioner.caption(image).confidence is not None


def test_without_a_confidence_that_fits_everything_else_works(captioner: Captioner, sure: Path) -> None:
    image = draw("circle", "red", "white", 1)
    plain = captioner.caption(image)
    assert (plain.confidence, plain.signals) == (None, None)
    bundle = load_bundle(sure)
    fitted = bundle.manifest.confidence
    assert fitted is not None
    later = replace(fitted, signals={**fitted.signals, "smell": SignalWeight(1, 0, 1)})
    for other in (later, replace(fitted, weights="other")):
        unknown = Captioner(replace(bundle, manifest=replace(bundle.manifest, confidence=other)), provider="cpu")
        assert unknown.caption(image) == plain


def test_the_shipped_model_is_surer_of_a_photo_than_of_a_page_of_noise(shipped: Captioner) -> None:
    photo, odd = shipped.caption(photo_array("coffee")), shipped.caption(noise(1))
    assert photo.confidence is not None and odd.confidence is not None
    assert 1 > photo.confidence > odd.confidence > 0


def test_bad_input_is_an_error_of_capcli(captioner: Captioner, tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        captioner.caption(tmp_path / "missing.jpg")
    with pytest.raises(ImageError):
        captioner.caption(b"hello")
    with pytest.raises(UsageError):
        captioner.caption(draw("circle", "red", "white", 1), beam=0)
    with pytest.raises(BundleError):
        Captioner(tmp_path)


def test_graphs_that_do_not_fit_the_manifest_are_refused(tiny: Path, tmp_path: Path) -> None:
    def broken(change: str) -> Path:
        folder = tmp_path / change
        shutil.copytree(tiny, folder)
        values = json.loads((folder / "manifest.json").read_text())
        if change == "state":
            values["graph"]["state"] = ["h1", "c1"]
        elif change == "context":
            values["graph"]["context"] = []
        else:
            values["files"]["decoder"] = values["files"]["encoder"]
        (folder / "manifest.json").write_text(json.dumps(values))
        return folder

    for change in ("state", "context", "decoder"):
        with pytest.raises(BundleError, match=change if change == "decoder" else "coder"):
            Captioner(broken(change))


def test_what_a_graph_lacks_is_refused(tiny: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the train extra")

    def changed(name: str, change: Callable[[Any, dict[str, Any]], None]) -> Path:
        folder = tmp_path / name
        shutil.copytree(tiny, folder)
        graph = onnx.load(folder / "decoder.onnx")
        values = json.loads((folder / "manifest.json").read_text())
        change(graph.graph, values)
        onnx.save(graph, folder / "decoder.onnx")
        content = (folder / "decoder.onnx").read_bytes()
        values["files"]["decoder"].update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        (folder / "manifest.json").write_text(json.dumps(values))
        return folder

    def without(output: str) -> Callable[[Any, dict[str, Any]], None]:
        def change(graph: Any, values: dict[str, Any]) -> None:
            (gone,) = [each for each in graph.output if each.name == output]
            graph.output.remove(gone)

        return change

    assert Captioner(changed("same", lambda graph, values: None), provider="cpu").input_size == 64
    state = json.loads((tiny / "manifest.json").read_text())["graph"]["state"][0]
    for output in ("attention", f"{state}.next"):
        with pytest.raises(BundleError, match=re.escape(f"the decoder does not give ['{output}']")):
            Captioner(changed(output, without(output)), provider="cpu")


def test_a_vocabulary_of_another_size_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny, folder)
    words = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    words["model"]["vocab"]["zebra"] = len(words["model"]["vocab"])
    content = json.dumps(words).encode()
    (folder / "tokenizer.json").write_bytes(content)
    values = json.loads((folder / "manifest.json").read_text())
    values["files"]["tokenizer"].update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    (folder / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match=r"the decoder scores \d+ tokens but the tokenizer has \d+"):
        Captioner(folder, provider="cpu")


def test_a_stream_answers_each_image_in_order_and_goes_on_after_a_bad_one(captioner: Captioner, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    draw("circle", "red", "white", 1, 64).save(photo)
    array = np.asarray(draw("square", "blue", "black", 1, 64))
    images: list[Any] = [photo, str(photo), tmp_path / "missing.png", photo.read_bytes(), b"text", array, photo] * 3
    results = list(captioner.stream(iter(images), captions=2, length_penalty=1.0, batch_size=4))
    assert all(result.source is image for result, image in zip(results, images, strict=True))
    for place, result in enumerate(results):
        if place % 7 in (2, 4):
            assert result.captions == () and result.error
        else:
            assert result.error is None
            wanted = captioner.candidates(result.source, 2, length_penalty=1.0)
            assert [caption.text for caption in result.captions] == [caption.text for caption in wanted]


def test_a_stream_takes_images_as_they_are_needed_and_can_be_left(captioner: Captioner) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield np.asarray(draw("circle", "red", "white", taken, 64))

    results = captioner.stream(endless(), batch_size=2)
    assert "circle" in next(results).captions[0].tokens
    results.close()
    assert taken < 20


def test_a_stream_leaves_out_images_with_too_many_pixels(captioner: Captioner) -> None:
    images = [draw("circle", "red", "white", 1, size) for size in (64, 65)]
    small, large = captioner.stream(images, max_pixels=64 * 64)
    assert small.error is None and "too large" in str(large.error)


def test_a_stream_refuses_wrong_settings_at_once(captioner: Captioner) -> None:
    wrong: Any
    for wrong in ({"beam": 0}, {"captions": 0}, {"batch_size": 0}, {"workers": 0}):
        with pytest.raises(UsageError):
            captioner.stream([], **wrong)


@pytest.fixture
def picture() -> Image.Image:
    return draw("circle", "red", "white", 1, 64)


def coded(image: Image.Image, form: str = "PNG", **how: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **how)
    return content.getvalue()


CODINGS: list[tuple[str, dict[str, Any]]] = [
    *(("PNG", {}), ("JPEG", {"quality": 95}), ("GIF", {}), ("WEBP", {"lossless": True}), ("BMP", {})),
    *(("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})),
]


@pytest.mark.parametrize(("form", "how"), CODINGS)
def test_an_open_file_is_read_from_where_it_stands_and_stays_open(
    captioner: Captioner, picture: Image.Image, tmp_path: Path, form: str, how: dict[str, Any]
) -> None:
    other = coded(draw("square", "blue", "black", 1, 64))
    content = coded(picture, form, **how)
    path = tmp_path / "two"
    path.write_bytes(other + content)
    for file in (path.open("rb"), path.open("rb", buffering=0), io.BytesIO(other + content)):
        with file:
            file.seek(len(other))
            assert captioner.caption(file) == captioner.caption(content)
            assert not file.closed and file.read() == b""
            file.seek(0)
            assert captioner.caption(file) == captioner.caption(other)
            # However much of it the reader looked at: the same place each time.
            assert not file.closed and file.tell() == len(other + content)


def test_a_pipe_is_read_from_where_it_stands(captioner: Captioner, picture: Image.Image) -> None:
    content = coded(picture)
    for before in (b"", b"header"):
        read, write = os.pipe()
        os.write(write, before + content)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            assert pipe.read(len(before)) == before
            assert captioner.caption(pipe) == captioner.caption(content)
            assert not pipe.closed


def test_a_file_that_cannot_be_sought_in_is_read(captioner: Captioner, picture: Image.Image) -> None:
    class Download(io.RawIOBase):
        def __init__(self, content: bytes) -> None:
            self._rest = content

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            piece, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
            buffer[: len(piece)] = piece
            return len(piece)

    content = coded(picture)
    download: Any = Download(content)
    assert captioner.caption(download) == captioner.caption(content)

    class Reading:
        """Nothing but read, as many libraries give it."""

        def read(self, size: int = -1) -> bytes:
            return content

    files: list[Any] = [Reading(), Reading()]
    assert captioner.caption(files) == [captioner.caption(content)] * 2


def test_candidates_of_several_images_are_refused(captioner: Captioner, picture: Image.Image) -> None:
    several: list[Any] = [[picture, picture], [], (picture,), iter([picture]), np.zeros((2, 8, 8, 3), np.uint8)]
    for images in several:
        with pytest.raises(TypeError, match="one image"):
            captioner.candidates(images, 2)


def source_of(error: ImageError) -> Any:
    return error.source


def test_an_error_says_which_image_it_is_about(captioner: Captioner, picture: Image.Image, tmp_path: Path) -> None:
    good, missing = tmp_path / "good.png", tmp_path / "missing.png"
    picture.save(good)
    array = np.zeros((8, 8, 3), np.float32)
    with (tmp_path / "text.png").open("wb+") as file:
        wrong: list[tuple[Any, str]] = [
            (missing, f"{missing}: no such file"),
            (str(missing), f"{missing}: no such file"),
            (file, f"{tmp_path / 'text.png'}: is empty"),
            (b"hello", "images[1]: is not an image (it looks like text)"),
            (array, "images[1]: an array must be of type uint8, not float32"),
        ]
        for image, message in wrong:
            with pytest.raises(ImageError) as caught:
                captioner.caption([good, image, picture])
            assert str(caught.value) == message
            assert source_of(caught.value) is image
            with pytest.raises(ImageError) as caught:
                captioner.caption(image)
            assert str(caught.value) == message.removeprefix("images[1]: ")
            assert source_of(caught.value) is image
            with pytest.raises(ImageError) as caught:
                captioner.candidates(image, 2)
            assert source_of(caught.value) is image
            with pytest.raises(ImageError) as caught:
                captioner.load(image)
            assert source_of(caught.value) is image
    # The shape of all is known only with the last one: what is read later than the first batch is named as well.
    with pytest.raises(ImageError, match=r"^images\[40\]: "):
        captioner.caption([*[picture] * 40, b"hello"])


def test_the_name_of_an_image_does_not_fill_the_screen(captioner: Captioner) -> None:
    with pytest.raises(ImageError) as caught:
        captioner.caption("folder/" + "x" * 5000 + "/photo.jpg")
    assert len(str(caught.value)) < 300
    assert str(caught.value).startswith("folder/xx") and "xx/photo.jpg: " in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 5, 1.5, [b"x"], {"a": 1}, object()])
def test_what_is_no_image_is_a_type_error_that_says_where(
    captioner: Captioner, picture: Image.Image, wrong: Any
) -> None:
    with pytest.raises(TypeError, match=r"^images\[1\]: an image must be a path, bytes, an open binary file"):
        captioner.caption([picture, wrong])
    if not isinstance(wrong, (list, dict)):
        with pytest.raises(TypeError, match=r"^an image must be a path"):
            captioner.caption(wrong)
        with pytest.raises(TypeError, match=r"^an image must be a path"):
            captioner.candidates(wrong, 2)
    good, bad = captioner.stream([picture, wrong])
    assert good.error is None
    assert bad.source is wrong and str(bad.error).startswith("an image must be a path")


def test_a_file_that_is_open_as_text_is_a_type_error(
    captioner: Captioner, picture: Image.Image, tmp_path: Path
) -> None:
    picture.save(tmp_path / "a.bmp")
    with (
        (tmp_path / "a.bmp").open(encoding="latin-1") as plain,
        codecs.open(str(tmp_path / "a.bmp"), "r", "latin-1") as wrapped,
        tempfile.NamedTemporaryFile("w+") as temporary,
        io.StringIO("text") as memory,
    ):
        files: list[Any] = [plain, wrapped, temporary, memory]
        for file in files:
            for asked in (file, [file]):
                with pytest.raises(TypeError, match="opened in binary mode"):
                    captioner.caption(asked)
            assert "opened in binary mode" in str(next(captioner.stream([file])).error)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"beam": "3"}, TypeError, "beam must be a whole number, not '3'"),
        ({"beam": 3.0}, TypeError, "beam must be a whole number, not 3.0"),
        ({"beam": True}, TypeError, "beam must be a whole number, not True"),
        ({"beam": np.True_}, TypeError, "beam must be a whole number"),
        ({"beam": float("nan")}, TypeError, "beam must be a whole number, not nan"),
        ({"beam": [3]}, TypeError, "beam must be a whole number"),
        ({"beam": -1}, UsageError, "beam must be at least 1, not -1"),
        ({"beam": np.int64(0)}, UsageError, "beam must be at least 1, not 0"),
        ({"beam": 10**9}, UsageError, "beam must be at most 1000, not 1000000000"),
        ({"beam": 10**5000}, UsageError, "beam must be at most 1000, not a number of 16610 bits"),
        ({"max_length": 10**9}, UsageError, "max length must be at most 1000"),
        ({"max_length": "9"}, TypeError, "max length must be a whole number"),
        ({"max_length": 0}, UsageError, "max length must be at least 1"),
        ({"length_penalty": "0.7"}, TypeError, "length penalty must be a number, not '0.7'"),
        ({"length_penalty": True}, TypeError, "length penalty must be a number, not True"),
        ({"length_penalty": np.True_}, TypeError, "length penalty must be a number"),
        ({"length_penalty": float("nan")}, UsageError, "length penalty must be from 0 to 10, not nan"),
        ({"length_penalty": float("inf")}, UsageError, "length penalty must be from 0 to 10, not inf"),
        ({"length_penalty": -0.1}, UsageError, "length penalty must be from 0 to 10"),
        ({"length_penalty": 11}, UsageError, "length penalty must be from 0 to 10, not 11"),
    ],
)
def test_a_wrong_setting_is_one_clear_error(
    captioner: Captioner, picture: Image.Image, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: captioner.caption(picture, **settings),
        lambda: captioner.candidates(picture, 2, **settings),
        lambda: captioner.stream([picture], **settings),
        lambda: captioner.settings(**settings),
    ]
    for call in calls:
        with pytest.raises(error, match=re.escape(message)):
            call()


def test_wrong_counts_are_one_clear_error(captioner: Captioner, picture: Image.Image, tiny: Path) -> None:
    for name in ("captions", "batch_size", "workers", "max_pixels"):
        for value, error in (("2", TypeError), (2.5, TypeError), (True, TypeError), (0, UsageError), (-3, UsageError)):
            wrong: dict[str, Any] = {name: value}
            with pytest.raises(error, match=f"^{name.replace('_', ' ')} must be "):
                captioner.stream([picture], **wrong)
    with pytest.raises(UsageError, match="max pixels must be at least 1, not 0"):
        captioner.load(picture, max_pixels=0)
    with pytest.raises(TypeError, match="threads must be a whole number"):
        Captioner(tiny, threads="2")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="captions must be at least 1, not 0"):
        captioner.candidates(picture, 0)
    # Each would fill the memory, or start threads until the system refuses.
    with pytest.raises(UsageError, match="captions must be at most 1000, not 1000000000"):
        captioner.candidates(picture, 10**9)
    for name in ("captions", "batch_size", "workers"):
        many: dict[str, Any] = {name: 10**9}
        with pytest.raises(UsageError, match=f"^{name.replace('_', ' ')} must be at most "):
            captioner.stream([picture], **many)
    with pytest.raises(UsageError, match="threads must be at most 1024"):
        Captioner(tiny, threads=10**9)


def test_numbers_of_numpy_are_numbers(captioner: Captioner, picture: Image.Image) -> None:
    wide: Any = np.int64(4)
    found = captioner.settings(beam=wide, captions=np.uint8(2), max_length=np.int32(9), length_penalty=np.float32(0.5))  # type: ignore[arg-type]
    assert found == captioner.settings(beam=4, captions=2, max_length=9, length_penalty=0.5)
    # They are written into JSON, which knows Python's alone.
    assert {type(value) for value in vars(found).values()} == {int, float}
    assert captioner.caption(picture, beam=wide) == captioner.caption(picture, beam=4)
    assert len(list(captioner.stream([picture] * 3, batch_size=wide, workers=wide, captions=wide))[2].captions) == 4


def test_what_is_0_is_given(captioner: Captioner) -> None:
    assert captioner.settings(length_penalty=0).length_penalty == 0
    assert captioner.bundle.manifest.search.length_penalty != 0


def test_where_nothing_is_given_the_bundle_s_own_search_counts(tiny: Path) -> None:
    bundle = load_bundle(tiny)
    own = replace(bundle, manifest=replace(bundle.manifest, search=SearchDefaults(7, 11, 0.25)))
    assert Captioner(own, provider="cpu").settings() == SearchSettings(7, 11, 0.25, 1)


def test_a_model_that_is_being_opened_is_taken_as_it_is(tiny: Path) -> None:
    captioner = Captioner(OpeningModel(tiny, "cpu", 1))
    assert (captioner.threads, captioner.provider) == (1, "cpu")
    assert captioner.caption(draw("circle", "red", "white", 1000, 64)).raw == "a red circle on a white ground"


def test_a_stream_is_captioned_in_lanes_and_says_the_same(
    captioner: Captioner, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = Captioner(tiny, provider="cpu", threads=2, lanes=2)
    assert (two.lanes, two.threads, captioner.lanes) == (2, 2, 1)
    images = [np.asarray(draw(*each, seed=1000, size=64)) for each in ALL] * 4
    encode, names = two.encode, set[str]()

    def noted(pixels: np.ndarray) -> list[np.ndarray]:
        names.add(threading.current_thread().name)
        return encode(pixels)

    monkeypatch.setattr(two, "encode", noted)
    said = list(two.stream(images))
    assert [each.captions for each in said] == [each.captions for each in captioner.stream(images)]
    assert len(names) == 2


@pytest.fixture(scope="module")
def older(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with its decoder as capcli used to write it: a row of the state for each hypothesis."""
    folder = tmp_path_factory.mktemp("older") / "tiny"
    shutil.copytree(tiny, folder)
    shutil.copy(OLDER_DECODER, folder / "decoder.onnx")
    manifest = read_bundle(folder).manifest
    files = {**manifest.files, "decoder": describe_file(folder, "decoder.onnx")}
    write_manifest(folder, replace(manifest, files=files))
    return folder


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    picked=st.lists(st.integers(0, len(ALL) - 1), min_size=1, max_size=9),
    beam=st.integers(1, 6),
    longest=st.integers(2, 9),
    details=st.booleans(),
)
def test_a_decoder_that_is_told_who_shares_rows_says_what_an_older_one_says(
    captioner: Captioner, older: Path, picked: list[int], beam: int, longest: int, details: bool
) -> None:
    """However many hypotheses an image has, and whichever image is finished first."""
    images = [np.asarray(draw(*ALL[place], seed=place, size=64)) for place in picked]
    search = captioner.settings(beam=beam, captions=2, max_length=longest)
    pixels = np.stack([captioner.load(image) for image in images])
    news = captioner.caption_pixels(pixels, search, details=details)
    olds = Captioner(older, provider="cpu").caption_pixels(pixels, search, details=details)
    for ours, theirs in zip(news, olds, strict=True):
        assert [each.tokens for each in ours] == [each.tokens for each in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert abs(one.log_prob - other.log_prob) < 1e-3
            for word, same in zip(one.words or (), other.words or (), strict=True):
                assert word.attention is not None and same.attention is not None
                np.testing.assert_allclose(word.attention, same.attention, atol=1e-4)


def test_captions_are_written_as_the_bundle_s_writers_write(tiny: Path) -> None:
    bundle, image = load_bundle(tiny), draw("circle", "red", "white", 1000, 64)
    said = []
    for habits in (Habits(), Habits({"red": "RED"}), Habits({}, {"on": 9})):
        own = replace(bundle, manifest=replace(bundle.manifest, habits=habits))
        said.append(Captioner(own, provider="cpu").caption(image))
    plain, cased, once = said
    assert plain.raw == cased.raw == "a red circle on a white ground"
    assert cased.text == "A RED circle on a white ground."
    # Words that they never repeat come once.
    assert len(set(once.tokens)) == len(once.tokens)


def test_more_images_than_go_through_the_encoder_at_once_are_all_captioned(captioner: Captioner) -> None:
    images = [draw(*ALL[n % len(ALL)], seed=n, size=64) for n in range(67)]
    said = captioner.caption(images)
    assert len(said) == 67
    assert [caption.text for caption in said[-3:]] == [captioner.caption(image).text for image in images[-3:]]


def test_a_stream_of_one_image_is_refused_at_once(captioner: Captioner, picture: Image.Image) -> None:
    ones: list[Any] = ["photo.jpg", Path("photo.jpg"), b"bytes", io.BytesIO(b"x"), picture, np.asarray(picture)]
    for one in ones:
        with pytest.raises(TypeError, match="stream takes several images"):
            captioner.stream(one)
    nothing: list[Any] = [None, 5]
    for wrong in nothing:
        with pytest.raises(TypeError, match="an image must be"):
            captioner.stream(wrong)


def test_members_of_an_archive_are_captioned_each_as_itself(captioner: Captioner, tmp_path: Path) -> None:
    images = [draw(*ALL[n % len(ALL)], seed=n, size=64) for n in range(40)]
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for number, image in enumerate(images):
            content = coded(image)
            entry = tarfile.TarInfo(f"{number}.png")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    with tarfile.open(tmp_path / "all.tar") as tar:
        # They share one file, and with it its place.
        members: Iterator[Any] = (tar.extractfile(entry) for entry in tar)
        results = list(captioner.stream(members, batch_size=4, workers=4))
    wanted = captioner.caption(images)
    assert [result.captions[0].text for result in results] == [caption.text for caption in wanted]
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths, images, strict=False):
        image.save(path)

    def opened() -> Iterator[Any]:
        for path in paths:
            with path.open("rb") as file:
                yield file

    # The input is taken ahead, so a file may be closed before its turn comes.
    assert [result.captions[0].text for result in captioner.stream(opened())] == [c.text for c in wanted[:3]]


def test_an_error_of_the_images_themselves_comes_after_what_they_gave(
    captioner: Captioner, picture: Image.Image
) -> None:
    def images() -> Iterator[Image.Image]:
        for _ in range(19):
            yield picture
        raise OSError("the disk is gone")

    results = captioner.stream(images(), batch_size=4)
    for _ in range(19):
        assert next(results).error is None
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)
    assert list(results) == []


def test_a_stream_has_its_look_ahead_bounded_and_its_order_whatever_comes_between(captioner: Captioner) -> None:
    taken = [0, 0]

    def images(which: int) -> Iterator[np.ndarray]:
        for number in range(60):
            taken[which] += 1
            yield np.asarray(draw(*ALL[(number + which) % len(ALL)], seed=number, size=64))

    both = zip(captioner.stream(images(0), batch_size=2), captioner.stream(images(1), batch_size=3), strict=True)
    for answered, (one, other) in enumerate(both, start=1):
        assert max(taken) <= answered + 14
        for result, which in ((one, 0), (other, 1)):
            wanted = np.asarray(draw(*ALL[(answered - 1 + which) % len(ALL)], seed=answered - 1, size=64))
            source: Any = result.source
            assert np.array_equal(source, wanted)
        if answered % 20 == 0:
            # The captioner may be asked for others meanwhile.
            assert captioner.caption(one.source).text == one.captions[0].text
    assert taken == [60, 60]


@pytest.mark.parametrize(("form", "how"), CODINGS)
def test_one_image_that_is_not_read_yet_may_come_many_times(
    captioner: Captioner, picture: Image.Image, form: str, how: dict[str, Any]
) -> None:
    content = coded(picture.resize((900, 900)), form, **how)
    wanted = captioner.caption(content).text
    for _ in range(2):
        with Image.open(io.BytesIO(content)) as image:
            results = list(captioner.stream([image] * 8, batch_size=4, workers=4))
        assert [(result.error, result.captions[0].text) for result in results] == [(None, wanted)] * 8


def test_an_error_can_be_sent_to_another_process() -> None:
    sent = pickle.loads(pickle.dumps(ImageError("a.jpg: no such file", "a.jpg")))
    assert (str(sent), sent.source) == ("a.jpg: no such file", "a.jpg")


def capcli_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("capcli-")]


def no_thread_is_left(within_s: float = 2.0) -> bool:
    end = time.monotonic() + within_s
    while capcli_threads() and time.monotonic() < end:
        time.sleep(0.01)
    return not capcli_threads()


def test_a_stream_leaves_no_thread_however_it_ends(captioner: Captioner, picture: Image.Image) -> None:
    assert no_thread_is_left()
    list(captioner.stream([picture] * 20, batch_size=4))
    assert no_thread_is_left()
    closed = captioner.stream(itertools.repeat(picture), batch_size=4, workers=3)
    next(closed)
    # A reader, three loaders, a batcher and a lane.
    assert len(capcli_threads()) == 6
    closed.close()
    assert no_thread_is_left()
    for _ in captioner.stream(itertools.repeat(picture)):
        break
    assert no_thread_is_left()
    captioner.stream(itertools.repeat(picture)).close()
    with pytest.raises(TypeError):
        next(captioner.stream(map(lambda: 1, [picture])))  # type: ignore[arg-type, misc]
    assert no_thread_is_left()


def test_a_result_is_part_of_the_public_interface(captioner: Captioner, picture: Image.Image) -> None:
    result = next(captioner.stream([picture]))
    assert isinstance(result, capcli.Result) and "Result" in capcli.__all__
    assert (result.source, result.error, str(result.captions[0])) == (picture, None, captioner.caption(picture).text)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("chelsea", {"cat", "kitten"}),
        ("coffee", {"cup", "coffee", "mug", "table"}),
        ("astronaut", {"woman", "man", "person", "girl", "boy"}),
    ],
)
def test_the_shipped_model_says_what_a_real_photo_shows(shipped: Captioner, name: str, words: set[str]) -> None:
    caption = shipped.caption(photo_array(name))
    assert words & set(caption.tokens), caption.text
    assert caption.text[0].isupper() and caption.text.endswith(".")
    assert 5 <= len(caption.tokens) <= 20
    assert "<unk>" not in caption.tokens


def test_the_shipped_model_is_invariant_too(shipped: Captioner) -> None:
    arrays = [photo_array(name) for name in ("chelsea", "coffee", "astronaut", "rocket")]
    together = shipped.caption(arrays)
    for array, caption in zip(arrays, together, strict=True):
        alone = shipped.caption(array)
        assert alone.text == caption.text
        assert abs(alone.score - caption.score) < 1e-3


def test_a_name_in_an_error_can_be_printed(captioner: Captioner) -> None:
    for path, said in ((os.fsdecode(b"\xff\x1b.jpg"), "\\udcff\\x1b.jpg"), ("a\0b", "a\\x00b"), ("\ud800", "\\ud800")):
        with pytest.raises(ImageError) as caught:
            captioner.caption(path)
        str(caught.value).encode("utf-8")
        assert str(caught.value).startswith(f"{said}: ") and caught.value.source == path


def test_a_file_that_gives_no_bytes_is_told(captioner: Captioner, tmp_path: Path) -> None:
    class Odd:
        def read(self, count: int = -1) -> object:
            return 5

    with pytest.raises(TypeError, match="opened in binary mode"):
        captioner.caption(Odd())  # type: ignore[call-overload]
    with open(tmp_path / "x.png", "wb") as written, pytest.raises(ImageError, match="not open for reading"):
        captioner.caption(written)


def test_sixteen_images_are_captioned_together_and_four_encoded_unless_the_caller_says_otherwise(
    captioner: Captioner, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    encoded: list[int] = []

    def counting(counts: list[int], wrapped: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *others: Any) -> Any:
            counts.append(len(first["images"] if isinstance(first, dict) else first))
            return wrapped(first, *others)

        return call

    monkeypatch.setattr(captioner, "encode", counting(together, captioner.encode))
    monkeypatch.setattr(captioner._graphs.encoder, "run", counting(encoded, captioner._graphs.encoder.run))
    assert captioner.batch_size == 16
    captioner.caption([picture] * 17)
    assert (together, encoded) == ([16, 1], [4, 4, 4, 4, 1])
    for wanted, largest in ((None, 16), (3, 3)):
        together.clear()
        encoded.clear()
        list(captioner.stream([picture] * 17, batch_size=wanted, workers=1))
        # A batch that cannot be filled at once is not waited for.
        assert sum(together) == sum(encoded) == 17
        assert max(together) <= largest and max(encoded) <= 4


def test_the_mean_with_its_mirror_image_is_the_same_of_both(tiny: Path, picture: Image.Image) -> None:
    plain = Captioner(tiny, provider="cpu")
    both = Captioner(tiny, provider="cpu", mirror_average=True)
    pixels = both.load(picture)[None]
    mirrored = np.ascontiguousarray(pixels[:, :, ::-1])
    grid = plain.bundle.manifest.graph.attention_grid
    assert grid is not None
    context = len(plain.bundle.manifest.graph.context)
    for number, (mean, own, other, of_mirrored) in enumerate(
        zip(both.encode(pixels), plain.encode(pixels), plain.encode(mirrored), both.encode(mirrored), strict=True)
    ):
        assert mean.dtype == np.float32
        if number < context:
            other, of_mirrored = (
                each.reshape(1, *grid, -1)[:, :, ::-1].reshape(each.shape) for each in (other, of_mirrored)
            )
        # Else the test would not see which of the two is looked at. The tiny model's state is zeros in any case.
        assert number >= context or not np.allclose(own, other, atol=1e-3)
        np.testing.assert_allclose(mean, (own + other) / 2, atol=1e-5)
        np.testing.assert_allclose(of_mirrored, mean, atol=1e-5)


def test_the_mean_with_the_mirror_image_has_no_confidence(sure: Path, picture: Image.Image) -> None:
    assert Captioner(sure, provider="cpu").caption(picture).confidence is not None
    assert Captioner(sure, provider="cpu", mirror_average=True).caption(picture).confidence is None


def test_a_model_that_hides_the_shape_of_its_grid_averages_no_mirror_images(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hidden"
    shutil.copytree(tiny, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["graph"]["attention_grid"] = None
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert Captioner(folder, provider="cpu").input_size
    with pytest.raises(UsageError, match="does not tell the shape of its grid"):
        Captioner(folder, provider="cpu", mirror_average=True)
