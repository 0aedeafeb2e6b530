"""The training loop: one objective, validation by generating, checkpoints that resume exactly.

On the CPU at a fixed number of threads a run that was killed and resumed, in mid-epoch too, ends bit for bit like an
uninterrupted one; on CUDA it goes on with the same batches and random state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from capcli.decoding import SearchSettings, TokenFilter
from capcli.evaluation import plain_cider
from capcli.tokens import Tokenizer, raw_text
from capcli.training.augment import View
from capcli.training.batches import Batch, BatchPlan, MapSource
from capcli.training.config import TrainConfig
from capcli.training.generate import search_grid
from capcli.training.network import CaptionNetwork
from capcli.training.objectives import Objective, ObjectiveFunction
from capcli.training.preparation import ValidationSet
from capcli.training.resnet import SLICE, STAGES, grid
from capcli.training.run_folder import RunFolder

# Seconds between checkpoints at the ends of short epochs.
_SAVE_AFTER_S = 20.0


@dataclass(frozen=True)
class Progress:
    """Where training stands, after an update.

    Means over the epoch so far: `loss` in nats a word, None without people's captions; `reward` x 100 of the
    network's own sentences, None where it said none.
    """

    epoch: int
    epochs: int
    update: int
    updates: int
    loss: float | None
    reward: float | None
    rate: float
    seconds_left: float


@dataclass(frozen=True)
class EpochResult:
    """An epoch's line in the log. `cider` per validation set, x 100; `mean_cider` decides which epoch is best.

    `loss` and `reward` as in `Progress`.
    """

    epoch: int
    update: int
    loss: float | None
    reward: float | None
    rate: float
    cider: tuple[float, ...]
    mean_cider: float | None
    best: bool
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "cider": list(self.cider)}


class Listener:
    """Told how training goes; the command line prints it."""

    def progress(self, progress: Progress) -> None: ...

    def validating(self, done: int, total: int) -> None: ...

    def epoch(self, result: EpochResult) -> None: ...


@dataclass
class _Sums:
    """What an epoch has added up so far."""

    nats: float = 0.0
    words: int = 0
    rewards: float = 0.0
    sentences: int = 0

    def add(self, value: Objective) -> None:
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
        network: encoder and decoder, on the device.
        tokenizer: the decoder's vocabulary.
        filters: what captions may not say.
        objective: what updates make better.
        plan: batches; validation: images with references, possibly none.
        val_source: maps of the validation images.
        autocast: type of mixed precision, None for float32.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        network: CaptionNetwork,
        tokenizer: Tokenizer,
        filters: Sequence[TokenFilter],
        objective: ObjectiveFunction,
        plan: BatchPlan,
        validation: list[ValidationSet],
        val_source: MapSource,
        *,
        device: torch.device,
        autocast: torch.dtype | None,
        listener: Listener,
    ) -> None:
        self._config = config
        self._folder = folder
        self._network = network
        self._tokenizer = tokenizer
        self._filters = filters
        self._objective = objective
        self._plan = plan
        self._validation = validation
        self._val_source = val_source
        self._device = device
        self._autocast = autocast
        self._listener = listener
        self._first_trained = STAGES - config.fine_tune  # maps of this stage are the trained part's input
        self._trained = freeze(network, config.fine_tune)
        self._total = plan.updates_per_epoch * config.epochs
        self._optimizer = self._make_optimizer()
        # float16 needs its gradients scaled; bfloat16 has float32's range.
        self._scaler = torch.amp.GradScaler(device.type, enabled=autocast is torch.float16)
        self._update = 0
        self._sums = _Sums()
        self._best: float | None = None
        self._seconds = 0.0
        self._saved_at = -math.inf

    def run(self) -> None:
        """Trains to the last epoch, from where `last.pt` stands.

        Raises:
            OutputError: a checkpoint cannot be written.
        """
        if self._folder.has("last"):
            self._restore(self._folder.load("last"))
        else:
            torch.manual_seed(self._config.seed)
        per_epoch = self._plan.updates_per_epoch
        started, started_at = time.monotonic(), self._update
        while self._update < self._total:
            epoch, first = divmod(self._update, per_epoch)
            clock = time.monotonic()
            for batch in self._plan.epoch(epoch, first):
                self._train_on(batch)
                self._update += 1
                pace = (time.monotonic() - started) / (self._update - started_at)
                self._listener.progress(
                    Progress(
                        epoch + 1,
                        self._config.epochs,
                        self._update,
                        self._total,
                        self._sums.loss,
                        self._sums.reward,
                        self._rate(self._update) * self._config.rate,
                        pace * (self._total - self._update),
                    )
                )
                if self._update % self._config.save_every == 0 and self._update % per_epoch:
                    self._seconds += time.monotonic() - clock
                    clock = time.monotonic()
                    self._save()
            self._end_epoch(epoch, clock)

    def _train_on(self, batch: Batch) -> None:
        self._network.train()
        scale = self._rate(self._update + 1)
        for group in self._optimizer.param_groups:
            group["lr"] = group["highest"] * scale
        with torch.autocast(self._device.type, self._autocast, enabled=self._autocast is not None):
            features = self._grid(batch.maps)
            value = self._objective(self._network.decoder, features, batch)
        self._optimizer.zero_grad(set_to_none=True)
        scaled: Tensor = self._scaler.scale(value.loss)
        torch.autograd.backward(scaled)
        self._scaler.unscale_(self._optimizer)
        if self._config.clip:
            nn.utils.clip_grad_norm_(self._trained.values(), self._config.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        # Where gradients are scaled, an overflow now and then is part of it, and its update was left out.
        if math.isfinite(value.nats) or not self._scaler.is_enabled():
            self._sums.add(value)

    def _grid(self, maps: Tensor) -> Tensor:
        """Runs over a batch's maps the trained part of the encoder, over images the frozen part first."""
        maps = maps.to(self._device)
        if maps.dtype == torch.uint8:
            if self._first_trained < 0:
                return grid(self._network.encoder.forward_until(maps, STAGES))
            with torch.no_grad():
                slices = torch.split(maps, SLICE if self._device.type == "cpu" else len(maps))
                maps = torch.cat(
                    [self._network.encoder.forward_until(images, self._first_trained) for images in slices]
                )
        if self._autocast is None:
            maps = maps.float()
        maps = maps.to(memory_format=torch.channels_last)
        return grid(self._network.encoder.forward_from(maps, self._first_trained))

    def _end_epoch(self, epoch: int, clock: float) -> None:
        ciders = self.validate() if self._validation else ()
        mean = sum(ciders) / len(ciders) if ciders else None
        # Without validation images the latest epoch is the best that is known.
        best = mean is None or self._best is None or mean > self._best
        self._seconds += time.monotonic() - clock
        result = EpochResult(
            epoch=epoch + 1,
            update=self._update,
            loss=_rounded(self._sums.loss, 4),
            reward=_rounded(self._sums.reward, 2),
            rate=self._rate(self._update) * self._config.rate,
            cider=tuple(round(value, 2) for value in ciders),
            mean_cider=None if mean is None else round(mean, 2),
            best=best,
            seconds=round(self._seconds, 1),
        )
        # On a few images an epoch takes less time than writing it down; a resumed run repeats what was not saved.
        due = self._update == self._total or time.monotonic() - self._saved_at > _SAVE_AFTER_S
        if best and (due or mean is not None):
            self._folder.save("best", {"model": self._tensors(), "result": result.as_dict()})
        if best:
            self._best = mean
        self._sums = _Sums()
        self._folder.append_log(result.as_dict())
        if due:
            self._save()
        self._listener.epoch(result)

    def validate(self) -> tuple[float, ...]:
        """CIDEr x 100 of each validation set over a plain tokeniser: for choosing, not for quoting."""
        settings = SearchSettings(
            beam=self._config.beam,
            max_length=self._config.max_length,
            length_penalty=self._config.length_penalty,
        )
        self._network.eval()
        total = sum(len(held.images) for held in self._validation)
        done = 0
        scores = []
        for held in self._validation:
            captions = []
            for begin in range(0, len(held.images), 64):
                images = held.images[begin : begin + 64]
                maps = self._val_source.read([image.path for image in images], [View()] * len(images))
                with (
                    torch.inference_mode(),
                    torch.autocast(self._device.type, self._autocast, enabled=self._autocast is not None),
                ):
                    features = self._grid(maps)
                    found = search_grid(self._network.decoder, features, self._tokenizer, settings, self._filters)
                captions += [raw_text(self._tokenizer.tokens(best[0].tokens)) for best in found]
                done += len(images)
                self._listener.validating(done, total)
            scores.append(plain_cider(captions, [image.captions for image in held.images]))
        return tuple(scores)

    def _rate(self, update: int) -> float:
        """Linear warm-up, then a cosine down to `final_rate`; a factor of the highest rate."""
        warmup = min(self._config.warmup, self._total // 2)
        if update <= warmup:
            return update / max(1, warmup)
        part = (update - warmup) / max(1, self._total - warmup)
        final = self._config.final_rate
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * part))

    def _make_optimizer(self) -> torch.optim.AdamW:
        groups = []
        for prefix, rate in (("decoder.", self._config.rate), ("encoder.", self._config.encoder_rate)):
            tensors = [tensor for name, tensor in self._trained.items() if name.startswith(prefix)]
            if tensors:
                groups.append({"params": tensors, "lr": 0.0, "highest": rate})
        return torch.optim.AdamW(groups, weight_decay=self._config.weight_decay, betas=(0.9, 0.98))

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
                "random_cuda": torch.cuda.get_rng_state_all() if self._device.type == "cuda" else [],
                "update": self._update,
                "sums": asdict(self._sums),
                "best": self._best,
                "seconds": self._seconds,
            },
        )
        self._saved_at = time.monotonic()

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        load_trained(self._network, checkpoint["model"])
        self._optimizer.load_state_dict(checkpoint["optimizer"])
        self._scaler.load_state_dict(checkpoint["scaler"])
        torch.set_rng_state(checkpoint["random"])
        if self._device.type == "cuda" and checkpoint["random_cuda"]:
            torch.cuda.set_rng_state_all(checkpoint["random_cuda"])
        self._update = checkpoint["update"]
        self._sums = _Sums(**checkpoint["sums"])
        self._best = checkpoint["best"]
        self._seconds = checkpoint["seconds"]


def freeze(network: CaptionNetwork, fine_tune: int) -> dict[str, nn.Parameter]:
    """Lets gradients through the decoder and the encoder's last `fine_tune` parts only.

    Returns:
        The trained parameters by name.
    """
    for parameter in network.encoder.parameters():
        parameter.requires_grad_(False)
    for number in range(STAGES + 1 - fine_tune, STAGES + 1):
        for parameter in network.encoder.stage_parameters(number):
            parameter.requires_grad_(True)
    return {name: tensor for name, tensor in network.named_parameters() if tensor.requires_grad}


def load_trained(network: CaptionNetwork, tensors: dict[str, Tensor]) -> None:
    """Copies a checkpoint's tensors into the network."""
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
