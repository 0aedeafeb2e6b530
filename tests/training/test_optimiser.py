"""What an update does to the weights: learning rates, weight decay, clipping, which parts are trained."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import Tensor, dtype  # noqa: E402

from capcli.training.config import TrainConfig  # noqa: E402
from capcli.training.inputs.batches import Batch  # noqa: E402
from capcli.training.network.decoder import Decoder  # noqa: E402
from capcli.training.objectives import CrossEntropy, Loss  # noqa: E402
from capcli.training.optimiser import learning_rate_factor, parameter_groups  # noqa: E402
from tests.training.little_training import Push, config, make_network, run  # noqa: E402


def test_the_learning_rate_warms_up_and_follows_a_cosine_to_its_last_value() -> None:
    factors = [learning_rate_factor(update, 8, 3, 0.1) for update in range(1, 9)]
    cosine = [0.914058, 0.689058, 0.410942, 0.185942, 0.1]
    assert factors == pytest.approx([1 / 3, 2 / 3, 1, *cosine], abs=1e-6)
    # Without a warm-up the first update is on its way down already.
    assert learning_rate_factor(1, 4, 0, 0.0) == pytest.approx(0.5 + 0.5 * math.sqrt(0.5))


@given(st.integers(1, 60), st.integers(0, 100), st.floats(0, 1))
def test_the_learning_rate_rises_to_its_peak_and_falls_to_its_end(total: int, warmup: int, final: float) -> None:
    factors = [learning_rate_factor(update, total, warmup, final) for update in range(1, total + 1)]
    peak = min(warmup, total // 2)
    assert factors[:peak] == sorted(factors[:peak]) and factors[peak:] == sorted(factors[peak:], reverse=True)
    assert factors[0] > 0 or final == 0
    assert factors[-1] == pytest.approx(final) and max(factors) <= 1
    if peak:
        assert factors[peak - 1] == 1


def test_updates_go_at_the_scheduled_rate_encoder_and_decoder_at_their_own(tmp_path: Path) -> None:
    network = make_network()
    settings = config(
        epochs=2,
        batch_size=2,
        fine_tune=5,
        warmup=2,
        final_lr_fraction=0.2,
        learning_rate=0.02,
        encoder_learning_rate=0.004,
    )
    watch = run(tmp_path, settings, network, Push(network))
    factors = [0.5, 1, 0.2 + 0.4 * (1 + math.sqrt(0.5)), 0.6, 0.2 + 0.4 * (1 - math.sqrt(0.5)), 0.2]
    for name, _ in network.named_parameters():
        peak = 0.004 if name.startswith("encoder.") else 0.02
        assert watch.moves(name) == pytest.approx([peak * factor for factor in factors], rel=1e-3), name
    assert [told.rate for told in watch.told] == pytest.approx([0.02 * factor for factor in factors])
    assert [result.rate for result in watch.results] == pytest.approx([0.02 * factors[2], 0.02 * factors[5]])


def test_weight_matrices_decay_and_nothing_else_does(tmp_path: Path) -> None:
    network = make_network()
    settings = config(
        epochs=1,
        batch_size=6,
        fine_tune=5,
        final_lr_fraction=0.5,
        learning_rate=0.2,
        encoder_learning_rate=0.1,
        weight_decay=0.5,
    )
    network.add_presence(1)
    # One update, at half of the peak; without a gradient all that moves a weight is its decay.
    before, after = run(tmp_path, settings, network, Push(network, lambda update: 0.0)).weights
    decayed = set()
    for name, tensor in before.items():
        kept = 1 - 0.5 * (0.1 if name.startswith("encoder.") else 0.2) * 0.5
        if torch.equal(after[name], tensor):
            continue
        assert torch.allclose(after[name], kept * tensor, rtol=1e-5), name
        decayed.add(name)
    assert decayed == {name for name in before if name.endswith("weight") and name != "decoder.norm.weight"}


@pytest.mark.parametrize("fine_tune", range(6))
def test_every_trained_parameter_is_in_one_group(fine_tune: int) -> None:
    network = make_network()
    settings = config(fine_tune=fine_tune)
    network.freeze(fine_tune)
    trained = network.trained()
    grouped = [id(tensor) for group in parameter_groups(settings, trained) for tensor in group["params"]]
    assert len(grouped) == len({*grouped}) == len(trained)
    assert {*grouped} == {id(tensor) for tensor in trained.values()}


@pytest.mark.parametrize("autocast", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("limit", "wanted"), [(0.5, 0.5), (1e6, None), (0.0, None)])
def test_gradients_are_clipped_to_their_norm_and_only_above_it(
    autocast: dtype | None, limit: float, wanted: float | None, tmp_path: Path
) -> None:
    network = make_network()
    settings = config(fine_tune=2, max_grad_norm=limit, epochs=1)
    run(tmp_path, settings, network, Push(network, lambda update: 3.0), autocast=autocast)
    gradients = [tensor.grad for tensor in network.parameters() if tensor.requires_grad]
    # What the last update left: the gradients it went by, with float16's scale taken out.
    norm = torch.cat([gradient.flatten() for gradient in gradients if gradient is not None]).norm()
    whole = 3.0 * math.sqrt(sum(tensor.numel() for tensor in network.parameters() if tensor.requires_grad))
    assert float(norm) == pytest.approx(whole if wanted is None else wanted, rel=1e-3)


def test_a_long_gradient_moves_the_average_no_further_than_the_limit(tmp_path: Path) -> None:
    """A gradient a thousand times too long in one update must not silence those that follow."""

    def last_move(settings: TrainConfig, folder: Path) -> float:
        network = make_network()
        push = Push(network, lambda update: 1000.0 if update == 2 else 1.0)
        return run(folder, settings, network, push).moves("decoder.output_bias")[-1]

    numbers = sum(tensor.numel() for tensor in make_network().decoder.parameters())
    clipped = last_move(config(max_grad_norm=math.sqrt(numbers)), tmp_path / "clipped")
    free = last_move(config(max_grad_norm=0.0), tmp_path / "free")
    rate = 0.01 * learning_rate_factor(6, 6, 0, 0.03)
    assert clipped == pytest.approx(rate, rel=1e-2) and abs(free - rate) > 0.2 * rate


PARTS = ("conv1", "layer1", "layer2", "layer3", "layer4")


@pytest.mark.parametrize("fine_tune", range(6))
def test_fine_tune_trains_the_decoder_and_so_many_parts_of_the_encoder_from_the_last(
    fine_tune: int, tmp_path: Path
) -> None:
    network = make_network(seed=2)
    before, *_, after = run(tmp_path, config(fine_tune=fine_tune), network).weights
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    parts = {name.split(".")[1] for name in changed if name.startswith("encoder.")}
    assert parts == {*PARTS[len(PARTS) - fine_tune :]}
    assert any(name.startswith("decoder.") for name in changed)
    frozen = {name for name, tensor in network.named_parameters() if not tensor.requires_grad}
    assert frozen == {name for name in before if name.startswith("encoder.") and name.split(".")[1] not in parts}


def test_a_network_is_frozen_anew_for_every_run() -> None:
    network = make_network()
    network.freeze(5)
    network.freeze(0)
    assert not any(name.startswith("encoder.") for name in network.trained())
    assert not any(tensor.requires_grad for tensor in network.encoder.parameters())


@pytest.mark.parametrize("fine_tune", range(6))
def test_whatever_is_frozen_the_features_are_the_whole_encoders(fine_tune: int, tmp_path: Path) -> None:
    network = make_network()
    seen = []

    class Looking(CrossEntropy):
        def __call__(self, decoder: Decoder, features: Tensor, batch: Batch) -> Loss:
            with torch.no_grad():
                seen.append((features.detach().clone(), network.encoder(batch.inputs)))
            return super().__call__(decoder, features, batch)

    run(tmp_path, config(fine_tune=fine_tune, epochs=1), network, Looking(0.0))
    assert len(seen) == 3
    for given_features, wanted in seen:
        torch.testing.assert_close(given_features, wanted)
