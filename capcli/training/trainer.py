"""The training loop: one objective, validation, checkpoints that resume exactly.

On the CPU at a fixed number of threads a run that was killed and resumed, in mid-epoch too, ends bit for bit like an
uninterrupted one; on CUDA it continues with the same batches and random state.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from capcli.errors import DataError, TrainingError
from capcli.training.config import TrainConfig
from capcli.training.device import Machine
from capcli.training.inputs.batches import Batch, BatchPlan
from capcli.training.network.caption_network import CaptionNetwork
from capcli.training.objectives.objective import Loss, Objective
from capcli.training.optimiser import learning_rate_factor, make_optimiser, set_learning_rate
from capcli.training.progress import EpochResult, TrainingListener, TrainingProgress
from capcli.training.run_folder import RunFolder
from capcli.training.validation import ValidationScores, Validator

# Settings that scores depend on: scores under others cannot be compared.
_OF_SCORES = ("val_images", "beam", "length_penalty", "max_length")
# Seconds between checkpoints at the ends of short epochs.
_SAVE_AFTER_S = 20.0
# float16's scaler skips an update that overflows, and halves its scale; after so many in a row it is no overflow.
_SKIPPED_IN_A_ROW = 10


@dataclass
class _Sums:
    """What an epoch has added up so far."""

    nats: float = 0.0
    words: int = 0
    rewards: float = 0.0
    sentences: int = 0

    def add(self, value: Loss) -> None:
        self.nats += value.nats
        self.words += value.words
        self.rewards += value.reward
        self.sentences += value.sentences

    @property
    def loss(self) -> float | None:
        return self.nats / self.words if self.words else None

    @property
    def reward(self) -> float | None:
        return self.rewards / self.sentences if self.sentences else None


class Trainer:
    """Runs or resumes one training run.

    Args:
        config: settings.
        folder: where checkpoints and log go.
        network: on the machine's device, frozen but for what is trained.
        objective: what updates minimise.
        plan: batches.
        validator: scores the network after epochs; None without validation images.
        machine: device, precision, and processes that prepare batches.
        listener: told how it goes.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        network: CaptionNetwork,
        objective: Objective,
        plan: BatchPlan,
        validator: Validator | None,
        *,
        machine: Machine,
        listener: TrainingListener,
    ) -> None:
        self._config = config
        self._folder = folder
        self._network = network
        self._objective = objective
        self._plan = plan
        self._validator = validator
        self._machine = machine
        self._listener = listener
        self._trained = network.trained()
        self._total = plan.updates_per_epoch * config.epochs
        self._optimizer = make_optimiser(config, self._trained, machine.device)
        # float16 needs its gradients scaled; bfloat16 has float32's range.
        self._scaler = torch.amp.GradScaler(machine.device.type, enabled=machine.autocast is torch.float16)
        self._skipped = 0
        self._update = 0
        self._sums = _Sums()
        self._best: float | None = None
        self._seconds = 0.0
        self._saved_at = -math.inf
        if self._on_cuda:
            # Convolutions in half precision are quickest with channels last.
            network.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(self) -> None:
        """Trains to the last epoch, from where `last.pt` stands.

        Raises:
            OutputError: a checkpoint cannot be written.
            TrainingError: the loss or a gradient is no longer finite.
        """
        if self._folder.has("last"):
            self._restore(self._folder.load("last"))
        else:
            torch.manual_seed(self._config.seed)
        per_epoch = self._plan.updates_per_epoch
        started, started_at = time.monotonic(), self._update
        clock = time.monotonic()
        batches = self._plan.batches(self._update, self._total, workers=self._machine.workers, pin_memory=self._on_cuda)
        for batch in batches:
            self._train_on(batch)
            self._update += 1
            pace = (time.monotonic() - started) / (self._update - started_at)
            self._listener.progress(
                TrainingProgress(
                    -(-self._update // per_epoch),
                    self._config.epochs,
                    self._update,
                    self._total,
                    self._sums.loss,
                    self._sums.reward,
                    self._rate(self._update) * self._config.learning_rate,
                    pace * (self._total - self._update),
                )
            )
            if self._update % per_epoch == 0:
                self._end_epoch(self._update // per_epoch, clock)
                clock = time.monotonic()
            elif self._update % self._config.save_every == 0:
                self._seconds += time.monotonic() - clock
                clock = time.monotonic()
                self._save()

    def _train_on(self, batch: Batch) -> None:
        self._network.train()
        set_learning_rate(self._optimizer, self._rate(self._update + 1))
        with self._machine.mixed_precision():
            features = self._network.features(batch.inputs)
            value = self._objective(self._network.decoder, features, batch)
        self._optimizer.zero_grad(set_to_none=True)
        scaled: Tensor = self._scaler.scale(value.loss)
        torch.autograd.backward(scaled)
        self._scaler.unscale_(self._optimizer)
        norm = float(nn.utils.clip_grad_norm_(self._trained.values(), self._config.max_grad_norm or math.inf))
        finite = math.isfinite(norm) and math.isfinite(float(value.loss.detach()))
        # Where gradients are scaled, an overflow now and then is part of it: the scaler leaves the update out.
        self._skipped = 0 if finite else self._skipped + 1
        if self._skipped >= (_SKIPPED_IN_A_ROW if self._scaler.is_enabled() else 1):
            raise TrainingError(
                f"training diverged at update {self._update + 1}: the loss or its gradient is not finite; "
                f"lower --learning-rate or --encoder-learning-rate. {self._folder.path} keeps the state before"
            )
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if finite:
            self._sums.add(value)

    @property
    def _on_cuda(self) -> bool:
        return self._machine.device.type == "cuda"

    def _end_epoch(self, epoch: int, clock: float) -> None:
        last = epoch == self._config.epochs
        scores = self._validate() if last or epoch % self._config.val_every == 0 else None
        # Without validation images the latest epoch is the best that is known. Of equals the later one has learnt more.
        best = self._validator is None or (
            scores is not None and (self._best is None or scores.mean_cider >= self._best)
        )
        self._seconds += time.monotonic() - clock
        result = EpochResult(
            epoch=epoch,
            update=self._update,
            loss=_rounded(self._sums.loss, 4),
            reward=_rounded(self._sums.reward, 2),
            rate=self._rate(self._update) * self._config.learning_rate,
            **_score_fields(scores),
            best=best,
            seconds=round(self._seconds, 1),
        )
        # On a few images an epoch takes less time than writing it down; a resumed run repeats what was not saved.
        due = last or time.monotonic() - self._saved_at > _SAVE_AFTER_S
        if best and (due or scores is not None):
            self._folder.save("best", {"model": self._tensors(), "result": result.as_dict()})
        if best and scores is not None:
            self._best = scores.mean_cider
        self._sums = _Sums()
        self._folder.append_log(result.as_dict())
        if due:
            self._save()
        self._listener.epoch(result)

    def _validate(self) -> ValidationScores | None:
        if self._validator is None:
            return None
        self._network.eval()
        with self._machine.mixed_precision():
            return self._validator(self._network, self._listener.validating)

    def _rate(self, update: int) -> float:
        """The learning rate of an update, counted from 1, as a factor of the peak."""
        return learning_rate_factor(update, self._total, self._config.warmup, self._config.final_lr_fraction)

    def _tensors(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu() for name, tensor in self._trained.items()}

    def _save(self) -> None:
        self._folder.save(
            "last",
            {
                "model": self._tensors(),
                "optimizer": self._optimizer.state_dict(),
                "scaler": self._scaler.state_dict(),
                "random": torch.get_rng_state(),
                "random_cuda": torch.cuda.get_rng_state_all() if self._on_cuda else [],
                "update": self._update,
                "sums": asdict(self._sums),
                "best": self._best,
                "seconds": self._seconds,
                "skipped": self._skipped,
                "scored_with": self._scored_with(),
            },
        )
        self._saved_at = time.monotonic()

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        """Goes back to where `last.pt` stands; device and precision may have been others.

        Raises:
            DataError: an earlier capcli wrote it.
        """
        if "skipped" not in checkpoint:
            raise DataError(
                f"{self._folder.path / 'last.pt'}: written by an earlier capcli, which trained otherwise; go on with "
                f"that version, or start another run with --init {self._folder.path} and another --out"
            )
        self._best = checkpoint["best"]
        if self._best is not None and checkpoint.get("scored_with", self._scored_with()) != self._scored_with():
            self._score_best_again()
        self._network.load_trained(checkpoint["model"])
        optimizer = checkpoint["optimizer"]
        for saved, group in zip(optimizer["param_groups"], self._optimizer.param_groups, strict=True):
            # Whether one kernel updates all is the device's matter, not the run's.
            saved["fused"] = group["fused"]
        self._optimizer.load_state_dict(optimizer)
        if self._scaler.is_enabled() and checkpoint["scaler"]:
            self._scaler.load_state_dict(checkpoint["scaler"])
        torch.set_rng_state(checkpoint["random"])
        if self._on_cuda and checkpoint["random_cuda"]:
            torch.cuda.set_rng_state_all(checkpoint["random_cuda"][: torch.cuda.device_count()])
        self._update = checkpoint["update"]
        self._sums = _Sums(**checkpoint["sums"])
        self._seconds = checkpoint["seconds"]
        self._skipped = checkpoint["skipped"]

    def _scored_with(self) -> dict[str, Any]:
        return {name: getattr(self._config, name) for name in _OF_SCORES}

    def _score_best_again(self) -> None:
        """Scores the best epoch as later ones will be."""
        best = self._folder.load("best")
        self._network.load_trained(best["model"])
        scores = self._validate()
        self._best = None if scores is None else scores.mean_cider
        if scores is not None:
            again = _score_fields(scores)
            self._folder.save("best", {**best, "result": {**best["result"], **again, "cider": list(again["cider"])}})


def _score_fields(scores: ValidationScores | None) -> dict[str, Any]:
    """The part of an `EpochResult` that says how good the network is; None where it was not validated."""
    return {
        "cider": () if scores is None else tuple(round(value, 2) for value in scores.cider),
        "mean_cider": None if scores is None else round(scores.mean_cider, 2),
        "val_loss": None if scores is None else _rounded(scores.loss, 4),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
