"""Training on from a network with new words: what it knew stays, what is new is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import TINY_BUNDLE

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import Tensor  # noqa: E402

from capcli.bundle.tokens import SPECIAL, Tokenizer  # noqa: E402
from capcli.dataset.captions import CaptionedImage  # noqa: E402
from capcli.errors import DataError  # noqa: E402
from capcli.training.config import TrainConfig  # noqa: E402
from capcli.training.data import TrainingData, ValidationSet, learn_vocabulary  # noqa: E402
from capcli.training.initial import initial_model, load_model  # noqa: E402
from capcli.training.network.caption_network import CaptionNetwork  # noqa: E402
from capcli.training.run_folder import RunFolder  # noqa: E402
from tests.training.little_training import TOKENIZER, make_network  # noqa: E402

KNOWN = len(TOKENIZER)
words = st.lists(st.sampled_from(["a", "dog", "zebra", "Tree", "runs", "bus", "taxi"]), max_size=6).map(" ".join)


@given(st.lists(words, max_size=8), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_known_words_keep_their_ids_and_frequent_new_ones_come_after(captions: list[str], min_count: int) -> None:
    grown = TOKENIZER.extended(captions, min_count)
    assert grown.vocabulary[:KNOWN] == TOKENIZER.vocabulary
    said = " ".join(captions).lower().split()
    frequent = [word for word in {*said} if said.count(word) >= min_count and word not in TOKENIZER.vocabulary]
    assert list(grown.vocabulary[KNOWN:]) == sorted(frequent, key=lambda word: (-said.count(word), word))
    for special in ("pad", "start", "end", "unknown"):
        assert getattr(grown, special) == getattr(TOKENIZER, special)
    for word in frequent:
        assert TOKENIZER.encode(word) == [TOKENIZER.unknown]
        assert grown.encode(word) == [grown.id_of(word)]


def test_a_vocabulary_is_of_words_as_frequent_as_asked_for() -> None:
    captions = ["a dog", "a dog runs", "a cat"]
    assert Tokenizer.learn(captions, 2).vocabulary == (*SPECIAL, "a", "dog")
    with pytest.raises(DataError, match="lower --min-count"):
        Tokenizer.learn(captions, 4)


def image(*captions: str) -> CaptionedImage:
    return CaptionedImage(Path("x.jpg"), "x.jpg", captions)


def data(train: Sequence[str], held: Sequence[str]) -> TrainingData:
    return TrainingData([image(*train)], [ValidationSet("held", [image(*held)])], [])


@pytest.mark.parametrize("known", [None, TOKENIZER])
def test_words_and_habits_are_those_of_the_training_captions_alone(known: Tokenizer | None) -> None:
    train = ["a man looks at a TV in a bar"] * 6
    held = ["the zebra ran to the BMX zebra"] * 9
    tokenizer, habits = learn_vocabulary(data(train, held), 2, known)
    assert tokenizer.id_of("tv") is not None and tokenizer.id_of("zebra") is None
    assert dict(habits.casing) == {"tv": "TV"} and habits.returns == {"a": 3}


def known_scores(network: CaptionNetwork, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of teacher forcing and log-probabilities of the first step, over all words."""
    decoder = network.decoder.eval()
    grid = torch.randn(2, 4, decoder.config.features, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logits = decoder.teacher_forced(grid, torch.tensor([0, 1, 1]), tokens, [3, 3, 2])
        context, state = decoder.prepare(grid)
        first = decoder.step(torch.tensor([TOKENIZER.start] * 2), state, context)[0]
    return logits, first


@pytest.mark.parametrize("kind", ["attention", "pooled"])
def test_a_grown_network_scores_known_words_as_before_but_for_what_new_ones_take(kind: str) -> None:
    network = make_network(kind)
    with torch.no_grad():
        network.decoder.output_bias.normal_()
    tokens = torch.randint(4, KNOWN, (3, 3))
    logits, first = known_scores(network, tokens)
    network.decoder.grow_vocabulary(KNOWN + 5)
    after, first_after = known_scores(network, tokens)
    assert after.shape == (len(logits), KNOWN + 5) and network.decoder.config.vocabulary == KNOWN + 5
    torch.testing.assert_close(after[:, :KNOWN], logits)
    # Every known word has lost the same part of its probability, that which the new words have.
    mass = first_after[:, KNOWN:].exp().sum(-1, keepdim=True)
    torch.testing.assert_close(first_after[:, :KNOWN], first + torch.log1p(-mass))
    torch.testing.assert_close(first_after.exp().sum(-1), torch.ones(2))


def test_new_rows_are_fresh_and_as_probable_as_the_rarer_half() -> None:
    decoder = make_network().decoder
    with torch.no_grad():
        decoder.output_bias.copy_(torch.arange(KNOWN).float())
    before, bias = decoder.embedding.weight.detach().clone(), decoder.output_bias.detach().clone()
    decoder.grow_vocabulary(KNOWN + 300)
    assert torch.equal(decoder.embedding.weight[:KNOWN], before) and torch.equal(decoder.output_bias[:KNOWN], bias)
    new = decoder.embedding.weight[KNOWN:].detach()
    assert float(new.std()) == pytest.approx(decoder.config.embedding**-0.5, rel=0.1)
    assert float((new - new[0])[1:].abs().sum(1).min()) > 0
    assert (decoder.output_bias[KNOWN:] == bias.median()).all()
    assert isinstance(decoder.output_bias, torch.nn.Parameter) and decoder.embedding.weight.requires_grad


def test_a_vocabulary_never_shrinks() -> None:
    decoder = make_network().decoder
    weight = decoder.embedding.weight
    for size in (KNOWN, KNOWN - 3):
        decoder.grow_vocabulary(size)
        assert decoder.embedding.weight is weight and decoder.config.vocabulary == KNOWN


@pytest.mark.parametrize("kind", ["attention", "pooled"])
def test_new_words_learn(kind: str) -> None:
    decoder = make_network(kind).decoder
    decoder.grow_vocabulary(KNOWN + 4)
    logits = decoder.teacher_forced(
        torch.randn(1, 4, decoder.config.features), torch.tensor([0]), torch.tensor([[1, KNOWN + 1]]), [2]
    )
    torch.autograd.backward(torch.nn.functional.cross_entropy(logits, torch.tensor([KNOWN + 1, KNOWN + 2])))
    weight, bias = decoder.embedding.weight.grad, decoder.output_bias.grad
    assert weight is not None and bias is not None
    assert (weight[KNOWN:].abs().sum(1) > 0).all() and (bias[KNOWN:] != 0).all()


CAPTIONS = ["A zebra stands on a white ground"] * 5


@pytest.mark.parametrize("keep", [False, True])
def test_a_run_from_a_bundle_learns_new_words_unless_it_is_told_to_keep_the_old(keep: bool, tmp_path: Path) -> None:
    before = load_model(str(TINY_BUNDLE))
    known = len(before.tokenizer)
    config = TrainConfig(init=(str(TINY_BUNDLE),), keep_vocabulary=keep, min_count=5)
    notes: list[str] = []
    start = initial_model(config, RunFolder(tmp_path), data(CAPTIONS, ["a giraffe"] * 9), notes.append)
    assert (start.tokenizer.id_of("zebra") is None) == keep
    assert start.tokenizer.vocabulary[:known] == before.tokenizer.vocabulary
    assert start.tokenizer.id_of("giraffe") is None
    assert start.network.decoder.config.vocabulary == len(start.tokenizer) == known + (0 if keep else 2)
    # Habits of the captions that it is trained on go with their words.
    assert start.habits == (before.habits if keep else learn_vocabulary(data(CAPTIONS, []), 5)[1])
    for name, tensor in before.network.state_dict().items():
        kept = start.network.state_dict()[name]
        assert torch.equal(
            kept[:known] if name in ("decoder.embedding.weight", "decoder.output_bias") else kept, tensor
        )
    assert start.input_size == before.input_size == 64


def test_the_seed_decides_new_rows(tmp_path: Path) -> None:
    def rows(seed: int) -> Tensor:
        config = TrainConfig(init=(str(TINY_BUNDLE),), min_count=5, seed=seed)
        network = initial_model(config, RunFolder(tmp_path), data(CAPTIONS, []), print).network
        return network.decoder.embedding.weight[-1].detach()

    assert torch.equal(rows(1), rows(1)) and not torch.equal(rows(1), rows(2))
