"""The training loop: which epoch is best, what stops a run, mixed precision, resuming."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import Tensor, dtype  # noqa: E402

from capcli.errors import TrainingError  # noqa: E402
from capcli.training.inputs.batches import Batch  # noqa: E402
from capcli.training.network.decoder import Decoder, Dropout  # noqa: E402
from capcli.training.objectives import CrossEntropy, Loss, Objective  # noqa: E402
from capcli.training.run_folder import RunFolder  # noqa: E402
from tests.training.little_training import (  # noqa: E402
    Push,
    Scripted,
    Watch,
    config,
    make_network,
    make_plan,
    run,
    self_critical,
)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ((1.0, 3.0, 2.0), 2),
        ((5.0, 1.0, 1.0), 1),
        ((1.0, 2.0, 3.0), 3),
        ((3.0, 3.0, 1.0), 2),
        # Few images have no CIDEr at all: then the last epoch has learnt the most.
        ((0.0, 0.0, 0.0), 3),
        # The mean of the validation sets decides.
        (((9.0, 0.0), (5.0, 5.0), (0.0, 9.0)), 2),
    ],
)
def test_the_best_epoch_is_the_one_that_scores_highest_and_of_equals_the_last(
    scores: tuple[float | tuple[float, ...], ...], best: int, tmp_path: Path
) -> None:
    network = make_network()
    watch = run(tmp_path, config(epochs=3, batch_size=6), network, validator=Scripted(*scores))
    kept = RunFolder(tmp_path).load("best")
    assert kept["result"]["epoch"] == best and kept["result"]["best"]
    for name, tensor in kept["model"].items():
        assert torch.equal(tensor, watch.weights[best][name]), name
    assert [result.best for result in watch.results][best - 1 :] == [True, *[False] * (3 - best)]


def test_only_validated_epochs_can_be_best_and_the_last_one_is_validated(tmp_path: Path) -> None:
    settings = config(epochs=5, batch_size=6, val_every=2)
    watch = run(tmp_path, settings, make_network(), validator=Scripted(4.0, 6.0, 5.0))
    assert [result.mean_cider for result in watch.results] == [None, 4.0, None, 6.0, 5.0]
    assert [line["cider"] for line in RunFolder(tmp_path).read_log()] == [[], [4.0], [], [6.0], [5.0]]
    assert RunFolder(tmp_path).load("best")["result"]["epoch"] == 4
    assert [result.best for result in watch.results] == [False, True, False, True, False]


def test_without_validation_images_the_last_epoch_is_taken(tmp_path: Path) -> None:
    run(tmp_path, config(epochs=3, batch_size=6), make_network())
    assert RunFolder(tmp_path).load("best")["result"]["epoch"] == 3


def test_a_run_has_its_epochs_of_all_batches_and_says_how_far_it_is(tmp_path: Path) -> None:
    watch = run(tmp_path, config(epochs=3, batch_size=4), make_network())
    assert [(told.epoch, told.update) for told in watch.told] == [(1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6)]
    assert all((told.epochs, told.updates) == (3, 6) for told in watch.told)
    assert [result.update for result in watch.results] == [2, 4, 6]


def test_the_loss_of_an_epoch_is_its_mean_over_words(tmp_path: Path) -> None:
    # A learning rate this small changes nothing that four decimals show.
    still = {"epochs": 2, "learning_rate": 1e-9}
    logs = [run(tmp_path / str(size), config(**still, batch_size=size), make_network()).results for size in (1, 4, 6)]
    assert all(result.loss == pytest.approx(logs[0][0].loss, abs=2e-4) for log in logs for result in log)


def test_every_epoch_adds_up_anew(tmp_path: Path) -> None:
    network = make_network()
    watch = run(tmp_path, config(), network, Push(network))
    assert [told.loss for told in watch.told] == [1.0, 1.5, 2.0, 4.0, 4.5, 5.0]
    assert [result.loss for result in watch.results] == [2.0, 5.0]


def finite(folder: Path, name: str) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in RunFolder(folder).load(name)["model"].values())


class Broken(CrossEntropy):
    """Cross-entropy whose loss or gradient is not finite in some updates, counted from 1."""

    def __init__(self, how: str, updates: range | tuple[int, ...]) -> None:
        super().__init__(0.0)
        self._how = how
        self._updates = updates
        self._update = 0

    def __call__(self, decoder: Decoder, features: Tensor, batch: Batch) -> Loss:
        self._update += 1
        value = super().__call__(decoder, features, batch)
        if self._update not in self._updates:
            return value
        nothing = decoder.output_bias.sum() * 0
        loss = {
            "loss": value.loss + math.nan,
            "infinite loss": value.loss + math.inf,
            # The root of nothing is nothing, and as steep as can be.
            "gradient": value.loss + torch.sqrt(nothing),
            "both": value.loss * math.inf,
        }[self._how]
        return Loss(loss, math.nan, value.words)


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("how", ["loss", "infinite loss", "gradient", "both"])
def test_what_is_not_finite_stops_the_run_before_it_is_saved(how: str, autocast: dtype | None, tmp_path: Path) -> None:
    settings = config(save_every=1)
    with pytest.raises(TrainingError, match=r"diverged at update 3:.*--learning-rate") as raised:
        run(tmp_path, settings, make_network(), Broken(how, (3,)), autocast=autocast)
    assert "\n" not in str(raised.value) and str(tmp_path) in str(raised.value)
    last = RunFolder(tmp_path).load("last")
    assert last["update"] == 2 and math.isfinite(last["sums"]["nats"]) and finite(tmp_path, "last")
    assert not RunFolder(tmp_path).has("best")
    # With what was wrong set right it goes on from there.
    run(tmp_path, settings, make_network())
    assert finite(tmp_path, "best") and len(RunFolder(tmp_path).read_log()) == 2


def test_float16_leaves_out_updates_that_overflow(tmp_path: Path) -> None:
    network = make_network()
    watch = run(tmp_path, config(epochs=1), network, Broken("both", (2,)), autocast=torch.float16)
    start, first, second, third = watch.weights
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(start[name], first[name]) for name in first)
    assert any(not torch.equal(second[name], third[name]) for name in first)
    (result,) = watch.results
    assert result.loss is not None and math.isfinite(result.loss) and finite(tmp_path, "last")


def test_ten_overflows_in_a_row_are_a_run_that_diverged(tmp_path: Path) -> None:
    settings = config(epochs=8, save_every=1)
    # 9 in a row, one that is well, 9 in a row.
    some = (*range(2, 11), *range(12, 21))
    run(tmp_path / "some", settings, make_network(), Broken("both", some), autocast=torch.float16)
    assert finite(tmp_path / "some", "last")
    with pytest.raises(TrainingError, match="diverged at update 14:"):
        run(tmp_path / "more", settings, make_network(), Broken("both", range(5, 40)), autocast=torch.float16)
    assert finite(tmp_path / "more", "last") and RunFolder(tmp_path / "more").load("last")["update"] == 13


def test_overflows_in_a_row_are_counted_over_an_interruption(tmp_path: Path) -> None:
    settings = config(epochs=8, save_every=1)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, settings, make_network(), Broken("both", range(1, 9)), autocast=torch.float16, stop=9)
    with pytest.raises(TrainingError, match="diverged at update 10:"):
        run(tmp_path, settings, make_network(), Broken("both", range(1, 9)), autocast=torch.float16)


@pytest.mark.parametrize("kind", ["attention", "pooled"])
@pytest.mark.parametrize("critical", [False, True])
def test_updates_in_bfloat16_go_where_those_in_float32_go(critical: bool, kind: str, tmp_path: Path) -> None:
    """A first update in both precisions: the same loss and direction but for rounding, weights still in float32."""
    settings = config(fine_tune=5, epochs=1, batch_size=6)
    found: dict[str, tuple[float, dict[str, Any]]] = {}
    for name, autocast in (("full", None), ("half", torch.bfloat16)):
        network = make_network(kind, seed=3)
        seen: list[dtype] = []
        watch = run(
            tmp_path / name, settings, network, Told(self_critical(make_plan(settings)) if critical else None, seen),
            autocast=autocast, validator=Scripted(1.0),
        )  # fmt: skip
        assert seen == [autocast or torch.float32]
        assert all(tensor.dtype == torch.float32 for tensor in network.parameters())
        assert finite(tmp_path / name, "last")
        loss = watch.results[0].loss
        assert loss is not None
        found[name] = loss, {key: tensor.grad for key, tensor in network.named_parameters()}
    assert found["half"][0] == pytest.approx(found["full"][0], rel=0.02)
    flat = [
        torch.cat([gradient.flatten() for key, gradient in gradients.items() if key.startswith("decoder.")])
        for _, gradients in found.values()
    ]
    assert float(torch.cosine_similarity(*flat, dim=0)) > (0.8 if critical else 0.99)


class Told:
    """An objective that keeps the type of the features it is given."""

    def __init__(self, inner: Objective | None, seen: list[dtype]) -> None:
        self._inner = inner or CrossEntropy(0.0)
        self._seen = seen

    def __call__(self, decoder: Decoder, features: Tensor, batch: Batch) -> Loss:
        assert decoder.training
        self._seen.append(features.dtype)
        return self._inner(decoder, features, batch)


@pytest.mark.parametrize("autocast", [None, torch.bfloat16, torch.float16])
def test_validation_is_in_the_precision_of_the_run(autocast: dtype | None, tmp_path: Path) -> None:
    validator = Scripted(1.0)
    run(tmp_path, config(epochs=1), make_network(), validator=validator, autocast=autocast)
    assert validator.dtypes == [autocast or torch.float32]


@pytest.mark.parametrize(("critical", "stops"), [(False, (2, 6)), (False, (1, 8)), (True, (5,))])
def test_a_run_that_was_stopped_ends_bit_for_bit_like_one_that_was_not(
    critical: bool, stops: tuple[int, ...], tmp_path: Path
) -> None:
    """Dropout takes random numbers, the optimiser has its averages, and the best epoch is before the last stop."""
    settings = config(epochs=3, save_every=1, fine_tune=1, weight_decay=0.1, warmup=2, learning_rate=0.02)

    def go(folder: Path, scores: tuple[float, ...], stop: int | None) -> Watch:
        network = make_network(dropout=Dropout(0.3, 0.5))
        objective = self_critical(make_plan(settings)) if critical else None
        return run(folder, settings, network, objective, validator=Scripted(*scores), stop=stop)

    scores = (5.0, 3.0, 4.0)
    whole = go(tmp_path / "whole", scores, None)
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "stopped", scores[epochs_done(tmp_path / "stopped") :], stop)
    resumed = go(tmp_path / "stopped", scores[epochs_done(tmp_path / "stopped") :], None)
    assert 1 < resumed.told[0].update <= stops[-1]
    for name, tensor in whole.weights[-1].items():
        assert torch.equal(tensor, resumed.weights[-1][name]), name
    for name in ("best", "last"):
        ours, theirs = (RunFolder(tmp_path / run).load(name) for run in ("whole", "stopped"))
        for key, tensor in ours["model"].items():
            assert torch.equal(tensor, theirs["model"][key]), f"{name}: {key}"
    logs = [[{**line, "seconds": 0} for line in RunFolder(tmp_path / run).read_log()] for run in ("whole", "stopped")]
    assert logs[0] == logs[1] and [line["best"] for line in logs[0]] == [True, False, False]


def epochs_done(folder: Path) -> int:
    """Epochs before the last checkpoint, whose scores are not asked for again."""
    home = RunFolder(folder)
    return home.load("last")["update"] // 3 if home.has("last") else 0


def test_checkpoints_are_written_as_often_as_asked_for(tmp_path: Path) -> None:
    for every, stop, saved in ((1, 3, 2), (2, 4, 2), (2, 5, 4), (5, 6, 5)):
        folder = tmp_path / f"{every}-{stop}"
        with pytest.raises(KeyboardInterrupt):
            run(folder, config(batch_size=1, save_every=every), make_network(), stop=stop)
        assert RunFolder(folder).load("last")["update"] == saved


def test_the_seed_decides_what_dropout_drops(tmp_path: Path) -> None:
    def end(seed: int, folder: str) -> Tensor:
        network = make_network(dropout=Dropout(0.3, 0.5))
        # All images in one batch: the order cannot matter but to rounding.
        return run(tmp_path / folder, config(seed=seed, batch_size=6, epochs=1), network).weights[-1][
            "decoder.output_bias"
        ]

    assert torch.equal(end(1, "one"), end(1, "same"))
    assert float((end(1, "one again") - end(2, "two")).abs().max()) > 1e-4


def test_a_network_that_learns_says_its_captions(tmp_path: Path) -> None:
    watch = run(tmp_path, config(epochs=40, batch_size=6, fine_tune=5, learning_rate=0.03), make_network())
    losses = [told.loss for told in watch.told]
    assert losses[0] is not None and losses[-1] is not None
    assert losses[-1] < 0.6 * losses[0]
