"""Scores of held-back images: each beside its own references, in words that are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pycocoevalcap", reason="needs the train extra")

from torch import Tensor  # noqa: E402

from capcli.dataset.captions import CaptionedImage  # noqa: E402
from capcli.decoding.search import SearchSettings  # noqa: E402
from capcli.evaluation import plain_cider  # noqa: E402
from capcli.training.data import ValidationSet  # noqa: E402
from capcli.training.inputs.augment import View  # noqa: E402
from capcli.training.network.caption_network import CaptionNetwork  # noqa: E402
from capcli.training.network.search import search_grid  # noqa: E402
from capcli.training.validation import ValidationScores, Validator  # noqa: E402
from tests.training.little_training import FILTERS, TOKENIZER, make_network  # noqa: E402

SEARCH = SearchSettings(beam=2, max_length=6)


class Numbered:
    """Maps of the last stage that are drawn from the number that is the image's name."""

    def read(self, paths: Sequence[Path], views: Sequence[View]) -> Tensor:
        assert list(views) == [View()] * len(paths)
        maps: Tensor = torch.stack([features(int(path.stem)).T.reshape(64, 2, 2) for path in paths])
        return maps


def features(number: int) -> Tensor:
    grid: Tensor = 3 * torch.randn(4, 64, generator=torch.Generator().manual_seed(number))
    return grid


def network_that_talks(kind: str = "attention") -> CaptionNetwork:
    """A network with weights so large that it says something else of every image."""
    network = make_network(kind, seed=5).eval()
    with torch.no_grad():
        for name, tensor in network.decoder.named_parameters():
            if tensor.ndim > 1 and not name.startswith("project"):
                tensor.mul_(3)
    return network


def said(network: CaptionNetwork, number: int, search: SearchSettings = SEARCH) -> str:
    (found,) = search_grid(network.decoder, features(number)[None], TOKENIZER, search, FILTERS)
    return " ".join(TOKENIZER.tokens(found[0].tokens))


def held(number: int, *captions: str) -> CaptionedImage:
    return CaptionedImage(Path(f"{number}.jpg"), f"{number}.jpg", captions)


def validator(*sets: Sequence[CaptionedImage], max_words: int = 20, search: SearchSettings = SEARCH) -> Validator:
    named = [ValidationSet(str(number), list(images)) for number, images in enumerate(sets)]
    return Validator(named, Numbered(), TOKENIZER, search, FILTERS, max_words)


def score(of: Validator, network: CaptionNetwork) -> ValidationScores:
    return of(network, lambda done, total: None)


def test_captions_are_compared_with_the_references_of_their_own_image() -> None:
    network = network_that_talks()
    # More than are searched at once.
    numbers = range(70)
    captions = [said(network, number) for number in numbers]
    assert len({*captions}) > 40
    images = [held(number, caption, "a cat") for number, caption in zip(numbers, captions, strict=True)]
    own = score(validator(images), network).cider[0]
    assert own == pytest.approx(plain_cider(captions, [image.captions for image in images]))
    # The others' references, one place further on, are much worse.
    moved = [held(number, *images[number - 1].captions) for number in numbers]
    assert score(validator(moved), network).cider[0] < 0.5 * own


def test_every_set_has_its_score_and_their_mean_decides() -> None:
    network = network_that_talks()
    right = [held(number, said(network, number)) for number in range(5)]
    wrong = [held(number, said(network, number + 50)) for number in range(8)]
    scores = score(validator(right, wrong), network)
    assert scores.cider == pytest.approx(
        (score(validator(right), network).cider[0], score(validator(wrong), network).cider[0])
    )
    assert scores.cider[0] > scores.cider[1]
    assert scores.mean_cider == pytest.approx(sum(scores.cider) / 2)


def test_captions_are_searched_for_as_asked() -> None:
    network = network_that_talks()
    for search in (SearchSettings(beam=1, max_length=2), SearchSettings(beam=4, max_length=7, length_penalty=0.0)):
        captions = [said(network, number, search) for number in range(12)]
        images = [held(number, said(network, number), "a cat") for number in range(12)]
        wanted = plain_cider(captions, [image.captions for image in images])
        assert score(validator(images, search=search), network).cider[0] == pytest.approx(wanted)


def nats_by_hand(network: CaptionNetwork, number: int, words: list[int]) -> tuple[float, int]:
    """Summed nats of a sentence's known words, and their number, word by word."""
    context, state = network.decoder.prepare(features(number)[None])
    nats, known, last = 0.0, 0, TOKENIZER.start
    for word in words:
        scores, state, _ = network.decoder.step(torch.tensor([last]), state, context)
        if word != TOKENIZER.unknown:
            nats, known = nats - float(scores[0, word]), known + 1
        last = word
    return nats, known


@pytest.mark.parametrize("kind", ["attention", "pooled"])
def test_the_loss_is_the_cross_entropy_of_the_references_a_known_word(kind: str) -> None:
    network = network_that_talks(kind)
    first = [held(0, "a red dog", "zebra cat"), held(1, "two green birds runs left")]
    second = [held(2, "a"), held(3, "...")]
    loss = score(validator(first, second, max_words=4), network).loss
    wanted = [
        (0, [*TOKENIZER.encode("a red dog"), TOKENIZER.end]),
        (0, [TOKENIZER.unknown, *TOKENIZER.encode("cat"), TOKENIZER.end]),
        # Cut like a training caption, without an end.
        (1, TOKENIZER.encode("two green birds runs")),
        (2, [*TOKENIZER.encode("a"), TOKENIZER.end]),
    ]
    with torch.inference_mode():
        nats, words = zip(*(nats_by_hand(network, number, ids) for number, ids in wanted), strict=True)
    assert sum(words) == 4 + 2 + 4 + 2
    assert loss == pytest.approx(sum(nats) / sum(words), rel=1e-5)


def test_references_without_a_word_have_no_loss() -> None:
    assert score(validator([held(0, "..."), held(1, "?!")]), network_that_talks()).loss is None
    # Of one unknown word all that can be learnt is that it is the last.
    network = network_that_talks()
    with torch.inference_mode():
        nats, words = nats_by_hand(network, 1, [TOKENIZER.unknown, TOKENIZER.end])
    assert words == 1
    assert score(validator([held(1, "zebra")]), network).loss == pytest.approx(nats, rel=1e-5)


def test_it_tells_how_far_it_is() -> None:
    told = []
    of = validator([held(number, "a cat") for number in range(66)], [held(1, "a cat")])
    of(network_that_talks(), lambda done, total: told.append((done, total)))
    assert told == [(64, 67), (66, 67), (67, 67)]
