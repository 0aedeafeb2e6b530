"""The matching score that an export learns: of pictures and sentences both, and where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

from capcli.bundle.bundle import MATCHING, Bundle, read_bundle  # noqa: E402
from capcli.bundle.matching import FILE, Matching  # noqa: E402
from capcli.dataset.captions import CaptionedImage, read_captions  # noqa: E402
from capcli.training import matching_choice  # noqa: E402
from capcli.training.export_source import ExportSource, RunImages  # noqa: E402
from capcli.training.matching import learn_matching  # noqa: E402
from capcli.training.matching_choice import choose_matching, learn_from, look_at  # noqa: E402
from tests.shape_matching import score  # noqa: E402
from tests.shapes import write_data_set  # noqa: E402

TOPICS = 20


def _topics(count: int, seed: int) -> tuple[np.ndarray, list[list[list[int]]]]:
    """Pictures of one of twenty topics, among much else, and two sentences each with a word of that topic.

    Token 0 is never said, 1 to 3 are in every sentence.
    """
    generator = np.random.default_rng(seed)
    directions = np.random.default_rng(0).normal(size=(TOPICS, 40))
    topics = np.arange(count) % TOPICS
    pictures = 3.0 + directions[topics] + 0.5 * generator.normal(size=(count, 40))
    sentences = [[[1, 2, 4 + int(topic), 3], [4 + int(topic), 1, 2]] for topic in topics]
    return pictures.astype(np.float32), sentences


@pytest.fixture(scope="module")
def learnt() -> Matching:
    return learn_matching(*_topics(400, seed=1), 4 + TOPICS)


def test_it_goes_by_picture_and_sentence(learnt: Matching) -> None:
    """Of photos that it was not learnt on."""
    pictures, sentences = _topics(TOPICS, seed=2)
    table = np.array([[score(learnt, picture, said[0]) for said in sentences] for picture in pictures])
    own = np.arange(TOPICS)
    assert (table.argmax(0) == own).all() and (table.argmax(1) == own).all()
    assert np.diag(table).min() > 0


def test_a_word_that_was_never_met_says_nothing(learnt: Matching) -> None:
    picture, said = _topics(1, seed=2)
    assert not learnt.words[0].any()
    assert score(learnt, picture[0], [0]) == 0
    assert score(learnt, picture[0], [*said[0][0], 0]) == score(learnt, picture[0], said[0][0])


def test_the_same_photos_give_the_same_and_chance_elsewhere_stays(learnt: Matching) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = learn_matching(*_topics(400, seed=1), 4 + TOPICS)
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(again.words, learnt.words) and np.array_equal(again.projection, learnt.projection)
    other = learn_matching(*_topics(40, seed=1), 4 + TOPICS, seed=1)
    assert not np.array_equal(other.words, learnt.words)


def test_a_number_that_is_the_same_in_all_pictures_does_no_harm() -> None:
    pictures, sentences = _topics(40, seed=1)
    pictures[:, 3] = 1e6
    matching = learn_matching(pictures, sentences, 4 + TOPICS)
    matching_scores = [score(matching, picture, said[0]) for picture, said in zip(pictures, sentences, strict=True)]
    assert np.isfinite(matching_scores).all() and (matching.scales > 0).all()


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> list[CaptionedImage]:
    folder = tmp_path_factory.mktemp("shapes")
    captions = write_data_set(folder, copies=9, size=64)
    return read_captions(folder / "images", captions)[0]


def _source(matching: Path | None = None) -> ExportSource:
    return ExportSource(None, None, (), runs=() if matching else (None,), matching=matching)  # type: ignore[arg-type]


@pytest.fixture
def bundle(tiny: Path, tmp_path: Path) -> Bundle:
    shutil.copytree(tiny, tmp_path / "tiny")
    return read_bundle(tmp_path / "tiny")


def test_a_bundle_learns_which_sentences_go_with_its_photos(bundle: Bundle, shapes: list[CaptionedImage]) -> None:
    notes: list[str] = []
    made = choose_matching(bundle, _source(), RunImages(tuple(shapes)), notes.append)
    assert notes == [f"learning a matching score of pictures and captions on {len(shapes)} training photos"]
    assert made.manifest.files[MATCHING].path == FILE
    made.verify()
    tokenizer = made.tokenizer()
    matching = made.matching(len(tokenizer))
    assert matching is not None
    some = shapes[::9]
    table = np.array(
        [
            [score(matching, picture, tokenizer.encode(other.captions[0])) for other in some]
            for picture in look_at(bundle, some)
            if picture is not None
        ]
    )
    assert (table.argmax(1) == np.arange(len(some))).mean() > 0.6


def test_of_many_photos_some_are_taken_from_everywhere(
    bundle: Bundle, shapes: list[CaptionedImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[CaptionedImage] = []

    def learn(_: Bundle, images: list[CaptionedImage], __: object) -> tuple[None, int]:
        seen.extend(images)
        return None, 0

    monkeypatch.setattr(matching_choice, "MOST", 4)
    monkeypatch.setattr(matching_choice, "learn_from", learn)
    choose_matching(bundle, _source(), RunImages(tuple(shapes)), lambda line: None)
    assert seen == [shapes[place] for place in (0, 54, 108, 162)]


def _pooled(bundle: Bundle) -> Bundle:
    graph = replace(bundle.manifest.graph, context=())
    return replace(bundle, manifest=replace(bundle.manifest, graph=graph))


@pytest.mark.parametrize(
    ("change", "source", "problem", "count", "told"),
    [
        (_pooled, _source(), None, 216, "the decoder does not look at places of the photo"),
        (lambda same: same, replace(_source(), runs=()), None, 0, "a bundle brings no training photos; the run that"),
        (lambda same: same, _source(), None, 12, "12 training photos with captions can be read, 200 are needed"),
        (lambda same: same, _source(), "x: gone", 0, "0 training photos with captions can be read, 200 .* (x: gone)"),
    ],
)
def test_why_there_is_none_is_told(
    change: Callable[[Bundle], Bundle],
    source: ExportSource,
    problem: str | None,
    count: int,
    told: str,
    bundle: Bundle,
    shapes: list[CaptionedImage],
) -> None:
    notes: list[str] = []
    given = change(bundle)
    assert choose_matching(given, source, RunImages(tuple(shapes[:count]), problem=problem), notes.append) is given
    (line,) = notes
    first, _, last = told.partition(" .* ")
    assert line.startswith(f"no matching score is learnt: {first}") and line.endswith(last)
    assert not (bundle.folder / FILE).exists()


def test_photos_that_cannot_be_read_and_captions_without_words_do_not_count(
    bundle: Bundle, shapes: list[CaptionedImage], tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_text("no photo")
    images = [replace(shapes[0], path=tmp_path / "broken.png"), replace(shapes[1], captions=("...",)), *shapes[2:210]]
    images[2] = replace(images[2], captions=("?", *images[2].captions))
    matching, count = learn_from(bundle, images, list(look_at(bundle, images)))
    assert matching is not None and count == 208
    assert learn_from(bundle, images[:100], [None] * 100) == (None, 0)


def test_a_bundle_s_own_goes_on_in_any_form(bundle: Bundle, matched: Path) -> None:
    notes: list[str] = []
    made = choose_matching(bundle, _source(matched / FILE), RunImages(), notes.append)
    assert notes == []
    assert (bundle.folder / FILE).read_bytes() == (matched / FILE).read_bytes()
    assert made.matching_fingerprint == read_bundle(matched).matching_fingerprint
