"""Encoder and decoder together: the head that only training uses, and what checkpoints hold."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import Tensor  # noqa: E402

from capcli.training.network.caption_network import CaptionNetwork  # noqa: E402
from capcli.training.network.decoder import DecoderConfig, Dropout, build_decoder  # noqa: E402
from capcli.training.network.resnet import EncoderConfig, ResNet50  # noqa: E402
from tests.training.little_training import make_network  # noqa: E402

SMALL = {"vocabulary": 23, "features": 32, "hidden": 16, "embedding": 12, "attention": 8}


def test_the_word_presence_head_is_its_seeds_and_leaves_the_random_state_alone() -> None:
    def network() -> CaptionNetwork:
        torch.manual_seed(0)
        decoder = build_decoder(DecoderConfig("attention", **{**SMALL, "features": 256}))
        return CaptionNetwork(ResNet50(EncoderConfig(width=8)), decoder)

    heads = [network().add_presence(seed) for seed in (1, 1, 2)]
    assert heads[0].weight.shape == (SMALL["vocabulary"], 256)
    assert torch.equal(heads[0].weight, heads[1].weight) and not torch.equal(heads[0].weight, heads[2].weight)
    before = network()
    state = torch.get_rng_state()
    before.add_presence(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_checkpoint_fills_a_network_with_and_without_the_head_that_only_training_uses() -> None:
    trained, plain = make_network(seed=1), make_network(seed=2)
    trained.add_presence(5)
    tensors: dict[str, Tensor] = dict(trained.named_parameters())
    plain.load_trained(tensors)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in plain.named_parameters())
    with pytest.raises(KeyError):
        plain.load_trained({"decoder.nothing": torch.zeros(1)})


@pytest.mark.parametrize("kind", ["attention", "pooled"])
def test_a_network_comes_back_from_what_a_run_keeps_of_it(kind: str) -> None:
    """Without the head that only training uses, and with the dropout of the run that goes on with it."""
    network = make_network(kind, seed=1)
    network.add_presence(5)
    saved = network.as_checkpoint()
    assert {"encoder": saved["encoder"], "decoder": saved["decoder"]} == network.describe()
    same = CaptionNetwork.from_checkpoint(saved, Dropout(0.1, 0.2))
    assert same.presence is None and same.describe() == network.describe()
    assert (same.decoder.drop_features.p, same.decoder.drop_words.p) == (0.1, 0.2)
    weights = same.state_dict()
    assert {*weights} == {name for name in network.state_dict() if not name.startswith("presence.")}
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in weights.items())
