"""Every setting of a run reaches its place: a run is set up with it, and what it decides is looked at."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY_BUNDLE

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pycocoevalcap", reason="needs the train extra")

from capcli.decoding.search import SearchSettings  # noqa: E402
from capcli.errors import UsageError  # noqa: E402
from capcli.evaluation.java import MeteorProgram  # noqa: E402
from capcli.training import device as device_module  # noqa: E402
from capcli.training import initial, validation  # noqa: E402
from capcli.training import run as run_module  # noqa: E402
from capcli.training.config import DataSource, TrainConfig  # noqa: E402
from capcli.training.data import read_data  # noqa: E402
from capcli.training.device import Machine  # noqa: E402
from capcli.training.inputs.augment import Augmentation  # noqa: E402
from capcli.training.inputs.batches import BatchPlan  # noqa: E402
from capcli.training.inputs.corruptions import (  # noqa: E402
    Blur,
    Compress,
    CorruptionChances,
    Grey,
    Noise,
    Rescale,
    Sharpen,
    Tilt,
    WhiteBalance,
)
from capcli.training.inputs.examples import Sentences  # noqa: E402
from capcli.training.network import search as generate  # noqa: E402
from capcli.training.network.caption_network import CaptionNetwork  # noqa: E402
from capcli.training.network.decoder import PooledDecoder  # noqa: E402
from capcli.training.objectives import CrossEntropy, Loss, Objective, choice, self_critical  # noqa: E402  # noqa: E402
from capcli.training.progress import TrainingListener  # noqa: E402
from capcli.training.run import train  # noqa: E402
from capcli.training.run_folder import RunFolder  # noqa: E402
from capcli.training.trainer import Trainer  # noqa: E402
from capcli.training.validation import ValidationScores, Validator  # noqa: E402
from tests.training.little_training import Push, Watch  # noqa: E402

CAPTIONS = ("A red dog runs left on the grass.", "a dog on the left", "a zebra")


@dataclass
class SetUp:
    """A run ready to train: what its Trainer was given, and the folder."""

    config: TrainConfig
    network: CaptionNetwork
    objective: Objective
    plan: BatchPlan
    validator: Validator | None
    machine: Machine
    folder: RunFolder

    def train(self, objective: Objective | None = None, stop: int | None = None) -> Watch:
        """Trains it to the end, or until it is stopped."""
        watch = Watch(self.network, stop)
        Trainer(
            self.config,
            self.folder,
            self.network,
            objective or self.objective,
            self.plan,
            self.validator,
            machine=replace(self.machine, workers=0),
            listener=watch,
        ).run()
        return watch

    def value(self) -> Loss:
        """The objective's value of the first batch, without dropout of the reference captions."""
        batch = self.plan[0]
        torch.manual_seed(1)
        return self.objective(self.network.decoder, self.network.features(batch.inputs), batch)

    def scores(self) -> ValidationScores:
        assert self.validator is not None
        self.network.eval()
        return self.validator(self.network, lambda done, total: None)


class Runs:
    """Sets up runs on a few images that a test makes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name, count in (("one", 12), ("two", 8)):
            images = folder / name / "images"
            images.mkdir(parents=True)
            rows = ["image,caption"]
            for number in range(count):
                pixels = np.random.default_rng([count, number]).integers(0, 256, (64, 64, 3), np.uint8)
                Image.fromarray(pixels).save(images / f"{number}.png")
                rows += [f"{number}.png,{text}" for text in CAPTIONS[: 3 if number == 0 else 2]]
            (folder / name / "captions.csv").write_text("\n".join(rows) + "\n", "utf-8")

    def source(self, name: str) -> DataSource:
        return DataSource(str(self._folder / name / "images"), str(self._folder / name / "captions.csv"))

    def config(self, **changes: Any) -> TrainConfig:
        plain = TrainConfig(
            data=(self.source("one"),),
            encoder=str(TINY_BUNDLE),
            input_size=64,
            hidden=12,
            embedding=8,
            attention=6,
            min_count=1,
            epochs=1,
            batch_size=4,
            val=0.25,
            threads=1,
            precision="float32",
            device="cpu",
            warmup=0,
            max_grad_norm=0.0,
            weight_decay=0.0,
            dropout_words=0.0,
            dropout_features=0.0,
            label_smoothing=0.0,
            flip=False,
        )
        # The network of --init has sizes of its own.
        if "init" in changes:
            plain = replace(plain, hidden=None, embedding=None, attention=None)
        return replace(plain, **changes)

    def set_up(self, tmp_path: Path, **changes: Any) -> SetUp:
        """What `train` gives to its Trainer, which does not train."""
        given: dict[str, Any] = {}

        class Kept(Trainer):
            def __init__(self, *arguments: Any, **named: Any) -> None:
                given.update(inspect.signature(Trainer).bind(*arguments, **named).arguments)

            def run(self) -> None:
                pass

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_module, "Trainer", Kept)
            number = sum(1 for _ in tmp_path.iterdir())
            train(
                self.config(**changes),
                tmp_path / str(number),
                cache=self._folder / "cache",
                listener=TrainingListener(),
            )
        return SetUp(**{item.name: given[item.name] for item in fields(SetUp)})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


Check = Callable[[Runs, Path], None]
CHECKS: dict[tuple[str, ...], Check] = {}


def decides(*names: str) -> Callable[[Check], Check]:
    """Marks a check of what the settings `names` decide."""

    def keep(check: Check) -> Check:
        CHECKS[names] = check
        return check

    return keep


@decides("data")
def _(runs: Runs, tmp_path: Path) -> None:
    two = runs.set_up(tmp_path, data=(runs.source("one"), runs.source("two")), val=0.0)
    assert {number: len(images) for number, images in two.plan.references().items()} == {0: 12, 1: 8}


@decides("val")
def _(runs: Runs, tmp_path: Path) -> None:
    assert runs.set_up(tmp_path, val=0.0).validator is None
    counts = [len(read_data(runs.config(val=val)).train) for val in (0.0, 0.3, 0.7)]
    assert 12 == counts[0] > counts[1] > counts[2] > 0


@decides("min_count")
def _(runs: Runs, tmp_path: Path) -> None:
    vocabularies = [runs.set_up(tmp_path, min_count=count, val=0.0).folder.read_tokenizer() for count in (1, 2)]
    assert [each.id_of("zebra") is not None for each in vocabularies] == [True, False]


@decides("max_words")
def _(runs: Runs, tmp_path: Path) -> None:
    cut, whole = (runs.set_up(tmp_path, max_words=words) for words in (3, 20))
    assert max(len(words) for images in cut.plan.references().values() for each in images for words in each) == 3
    # The references of validation are cut in the same way.
    assert cut.scores().loss != pytest.approx(whole.scores().loss)


@decides("init", "keep_vocabulary", "encoder")
def _(runs: Runs, tmp_path: Path) -> None:
    fresh = runs.set_up(tmp_path)
    # The default encoder is eight times as wide as that of the little bundle.
    assert fresh.network.encoder.config.width == 8
    kept, grown = (
        runs.set_up(tmp_path, init=(str(TINY_BUNDLE),), encoder=None, keep_vocabulary=keep, min_count=5)
        for keep in (True, False)
    )
    assert kept.network.decoder.config.hidden == grown.network.decoder.config.hidden == 48
    vocabularies = [each.folder.read_tokenizer() for each in (kept, grown)]
    assert [each.id_of("dog") is not None for each in vocabularies] == [False, True]
    encoders = [each.network.encoder.state_dict() for each in (fresh, kept)]
    assert all(torch.equal(tensor, encoders[1][name]) for name, tensor in encoders[0].items())


@decides("encoder_stride")
def _(runs: Runs, tmp_path: Path) -> None:
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(initial, "load_encoder", lambda path, stride_in: asked.append((path, stride_in)))
        for stride in ("v1", "v1.5", None):
            initial.first_encoder(runs.config(encoder="x.pth", encoder_stride=stride))
    assert asked == [(Path("x.pth"), "conv1"), (Path("x.pth"), "conv2"), (Path("x.pth"), None)]


@decides("input_size")
def _(runs: Runs, tmp_path: Path) -> None:
    assert runs.set_up(tmp_path, input_size=32).plan[0].inputs.shape == (4, 256, 1, 1)
    assert runs.set_up(tmp_path, input_size=64).plan[0].inputs.shape == (4, 256, 2, 2)
    assert runs.set_up(tmp_path, input_size=48, color_jitter=0.1).plan[0].inputs.shape == (4, 48, 48, 3)


@decides("decoder")
def _(runs: Runs, tmp_path: Path) -> None:
    assert isinstance(runs.set_up(tmp_path, decoder="pooled").network.decoder, PooledDecoder)
    assert not isinstance(runs.set_up(tmp_path).network.decoder, PooledDecoder)


@decides("hidden", "embedding", "attention")
def _(runs: Runs, tmp_path: Path) -> None:
    decoder = runs.set_up(tmp_path, hidden=10, embedding=7, attention=5).network.decoder
    assert (decoder.config.hidden, decoder.config.embedding, decoder.config.attention) == (10, 7, 5)
    assert decoder.to_embedding.weight.shape == (7, 10)
    shapes = {name: tensor.shape for name, tensor in decoder.named_parameters()}
    assert shapes["attend.weight"] == (1, 5)


@decides("objective", "cross_entropy")
def _(runs: Runs, tmp_path: Path) -> None:
    plain = runs.set_up(tmp_path).value()
    assert plain.sentences == 0 and plain.words > 0
    alone, shared, known = (
        runs.set_up(tmp_path, objective="self-critical", cross_entropy=share).value() for share in (0.0, 0.3, 1.0)
    )
    assert alone.sentences > 0 and alone.words == 0
    assert float(known.loss.detach()) == pytest.approx(float(plain.loss.detach()), rel=1e-4)
    assert shared.words == plain.words
    mixed = 0.7 * float(alone.loss.detach()) + 0.3 * float(plain.loss.detach())
    assert float(shared.loss.detach()) == pytest.approx(mixed, rel=1e-4)


@decides("epochs")
def _(runs: Runs, tmp_path: Path) -> None:
    assert len(runs.set_up(tmp_path, epochs=3, val=0.0).train().told) == 3 * 3


@decides("batch_size")
def _(runs: Runs, tmp_path: Path) -> None:
    for size in (2, 5):
        assert len(runs.set_up(tmp_path, batch_size=size).plan[0].references) == size


@decides("fine_tune")
def _(runs: Runs, tmp_path: Path) -> None:
    for fine_tune, parts in ((0, set[str]()), (2, {"layer3", "layer4"})):
        set_up = runs.set_up(tmp_path, fine_tune=fine_tune, val=0.0)
        before, *_, after = set_up.train().weights
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert {name.split(".")[1] for name in changed if name.startswith("encoder.")} == parts
        # What is frozen is computed once.
        assert set_up.plan[0].inputs.shape[1] == {0: 256, 2: 64}[fine_tune]


@decides("learning_rate", "encoder_learning_rate", "final_lr_fraction", "warmup")
def _(runs: Runs, tmp_path: Path) -> None:
    set_up = runs.set_up(
        tmp_path,
        fine_tune=1,
        val=0.0,
        batch_size=3,
        learning_rate=0.04,
        encoder_learning_rate=0.01,
        warmup=1,
        final_lr_fraction=0.5,
    )
    watch = set_up.train(Push(set_up.network))
    factors = [1.0, 0.875, 0.625, 0.5]
    assert watch.moves("decoder.output_bias") == pytest.approx([0.04 * factor for factor in factors], rel=1e-3)
    assert watch.moves("encoder.layer4.0.conv1.bias") == pytest.approx([0.01 * factor for factor in factors], rel=1e-3)


@decides("weight_decay")
def _(runs: Runs, tmp_path: Path) -> None:
    set_up = runs.set_up(tmp_path, val=0.0, batch_size=12, weight_decay=0.5, learning_rate=0.1, final_lr_fraction=1.0)
    before, after = set_up.train(Push(set_up.network, lambda update: 0.0)).weights
    name = "decoder.to_embedding.weight"
    assert torch.allclose(after[name], before[name] * 0.95, rtol=1e-5)


@decides("max_grad_norm")
def _(runs: Runs, tmp_path: Path) -> None:
    set_up = runs.set_up(tmp_path, val=0.0, max_grad_norm=0.25)
    set_up.train(Push(set_up.network))
    gradients = [tensor.grad.flatten() for tensor in set_up.network.decoder.parameters() if tensor.grad is not None]
    assert float(torch.cat(gradients).norm()) == pytest.approx(0.25, rel=1e-3)


@decides("label_smoothing")
def _(runs: Runs, tmp_path: Path) -> None:
    objective = runs.set_up(tmp_path, label_smoothing=0.3).objective
    assert isinstance(objective, CrossEntropy)
    log_probs = torch.log_softmax(torch.tensor([[1.0, 2.0, 5.0]]), -1)
    wanted = -0.7 * float(log_probs[0, 1]) - 0.3 * float(log_probs.mean())
    assert float(objective.of(torch.tensor([[1.0, 2.0, 5.0]]), torch.tensor([1])).loss) == pytest.approx(wanted)


@decides("dropout_features", "dropout_words")
def _(runs: Runs, tmp_path: Path) -> None:
    fresh = runs.set_up(tmp_path, dropout_features=0.25, dropout_words=0.75)
    begun = runs.set_up(tmp_path, dropout_features=0.25, dropout_words=0.75, init=(str(TINY_BUNDLE),), encoder=None)
    for decoder in (fresh.network.decoder, begun.network.decoder):
        assert (decoder.drop_features.p, decoder.drop_words.p) == (0.25, 0.75)


@decides("word_presence")
def _(runs: Runs, tmp_path: Path) -> None:
    plain = runs.set_up(tmp_path, word_presence=0.0)
    assert plain.network.presence is None
    losses = []
    for weight in (0.5, 1.0):
        with_it = runs.set_up(tmp_path, word_presence=weight)
        losses.append(float((with_it.value().loss - plain.value().loss).detach()))
    assert losses[0] > 0 and losses[1] == pytest.approx(2 * losses[0], rel=1e-4)
    # It asks for words, not for the end of a sentence or for unknown words.
    tokenizer = with_it.folder.read_tokenizer()
    batch = with_it.plan[0]
    nothing = [[[tokenizer.end, tokenizer.unknown, tokenizer.start, tokenizer.pad]]] * len(batch.references)
    presence = (
        with_it.objective(with_it.network.decoder, torch.zeros(4, 4, 256), replace(batch, references=nothing)).loss
        - CrossEntropy(0.0)(with_it.network.decoder, torch.zeros(4, 4, 256), batch).loss
    )
    assert float(presence.detach()) == pytest.approx(0, abs=1e-6)
    before, *_, after = with_it.train().weights
    assert not torch.equal(before["presence.weight"], after["presence.weight"])


@decides("seed")
def _(runs: Runs, tmp_path: Path) -> None:
    one, same, other = (runs.set_up(tmp_path, seed=seed, val=0.0, word_presence=0.1) for seed in (1, 1, 2))
    for name in ("decoder.embedding.weight", "presence.weight"):
        first, second, third = (run.network.get_parameter(name) for run in (one, same, other))
        assert torch.equal(first, second) and not torch.equal(first, third), name
    assert torch.equal(one.plan[0].inputs, same.plan[0].inputs) and not torch.equal(
        one.plan[0].inputs, other.plan[0].inputs
    )
    held = [{image.name for image in read_data(runs.config(seed=seed, val=0.5)).train} for seed in (1, 1, 2)]
    assert held[0] == held[1] != held[2]


def directions(plan: BatchPlan, tokenizer_of: SetUp, *words: str) -> list[int]:
    """How often each word is in the captions of an epoch."""
    numbers = [tokenizer_of.folder.read_tokenizer().id_of(word) for word in words]
    said = [
        word
        for update in range(plan.updates_per_epoch)
        for captions in plan[update].references
        for words_of in captions
        for word in words_of
    ]
    return [said.count(number) for number in numbers if number is not None]


@decides("flip", "left_right")
def _(runs: Runs, tmp_path: Path) -> None:
    # The word for the other side has to be known; that of "left" is "grass" here.
    sides = ("left", "grass")
    still = runs.set_up(tmp_path, val=0.0, left_right=sides)
    assert directions(still.plan, still, *sides) == [24, 12]
    mirrored = runs.set_up(tmp_path, val=0.0, left_right=sides, flip=True)
    left, grass = directions(mirrored.plan, mirrored, *sides)
    assert left + grass == 36 and 12 < left < 24
    # Without both words there is nothing to swap.
    named = runs.set_up(tmp_path, val=0.0, flip=True)
    assert directions(named.plan, named, *sides) == [24, 12]
    assert not torch.equal(named.plan[0].inputs, still.plan[0].inputs)


@decides("min_crop_area", "color_jitter")
def _(runs: Runs, tmp_path: Path) -> None:
    config = runs.config(min_crop_area=0.3, color_jitter=0.6)
    drawn = Augmentation.of(config)
    assert (drawn.flip, drawn.min_crop_area, drawn.color_jitter) == (False, 0.3, 0.6)
    plain = runs.set_up(tmp_path, fine_tune=5).plan[0].inputs
    for change in ({"min_crop_area": 0.3}, {"color_jitter": 0.6}):
        changed = runs.set_up(tmp_path, **change).plan[0].inputs
        assert changed.dtype == plain.dtype == torch.uint8
        assert (changed != plain).flatten(1).any(1).all()


KINDS = {
    "tilt": Tilt,
    "white_balance": WhiteBalance,
    "grey": Grey,
    "rescale": Rescale,
    "blur": Blur,
    "sharpen": Sharpen,
    "noise": Noise,
    "compress": Compress,
}


@decides(*KINDS)
def _(runs: Runs, tmp_path: Path) -> None:
    plain = runs.set_up(tmp_path, fine_tune=5).plan[0].inputs
    assert {*KINDS} == {item.name for item in fields(CorruptionChances)}
    for name, kind in KINDS.items():
        view = Augmentation.of(runs.config(**{name: 1.0})).draw(np.random.default_rng(1))
        assert [type(corruption) for corruption in view.corruptions] == [kind]
    changed = runs.set_up(tmp_path, noise=1.0).plan[0].inputs
    assert (changed != plain).flatten(1).any(1).all()


def searches(patch: pytest.MonkeyPatch, module: Any) -> list[SearchSettings]:
    """Keeps the settings of every search that a module makes."""
    kept: list[SearchSettings] = []

    def search_grid(decoder: Any, grid: Any, tokenizer: Any, settings: SearchSettings, filters: Any) -> Any:
        kept.append(settings)
        return generate.search_grid(decoder, grid, tokenizer, settings, filters)

    patch.setattr(module, "search_grid", search_grid)
    return kept


@decides("beam_samples")
def _(runs: Runs, tmp_path: Path) -> None:
    for samples in (2, 4):
        set_up = runs.set_up(tmp_path, objective="self-critical", beam_samples=samples, max_length=7)
        with pytest.MonkeyPatch.context() as patch:
            kept = searches(patch, self_critical)
            assert set_up.value().sentences == samples * 4
        assert {(search.beam, search.captions, search.max_length) for search in kept} == {(samples, samples, 7)}


@decides("beam", "max_length", "length_penalty")
def _(runs: Runs, tmp_path: Path) -> None:
    set_up = runs.set_up(tmp_path, beam=2, max_length=6, length_penalty=0.3)
    with pytest.MonkeyPatch.context() as patch:
        kept = searches(patch, validation)
        set_up.scores()
    assert [(search.beam, search.max_length, search.length_penalty, search.captions) for search in kept] == [
        (2, 6, 0.3, 1)
    ]


class AlwaysHalf(MeteorProgram):
    """Stands for METEOR, which takes seconds to start: everything is worth 0.5."""

    def __init__(self, java: str) -> None:
        assert java == "a java"

    def __exit__(self, *_: object) -> None: ...

    def score(self, captions: Any, references: Any) -> tuple[float, list[float]]:
        return 0.5, [0.5] * len(captions)


@decides("bleu", "meteor")
def _(runs: Runs, tmp_path: Path) -> None:
    def reward(**weights: float) -> float:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(choice, "MeteorProgram", AlwaysHalf)
            patch.setattr(choice, "find_java", lambda: "a java")
            value = runs.set_up(tmp_path, objective="self-critical", val=0.0, **weights).value()
        return value.reward / value.sentences

    plain = reward()
    assert reward(meteor=0.5) - plain == pytest.approx(25) and reward(meteor=2.0) - plain == pytest.approx(100)
    gain = reward(bleu=1.0) - plain
    assert gain > 1 and reward(bleu=3.0) - plain == pytest.approx(3 * gain)
    assert reward(bleu=1.0, meteor=0.5) - plain == pytest.approx(gain + 25)


@decides("val_images")
def _(runs: Runs, tmp_path: Path) -> None:
    whole, few = (read_data(runs.config(val=0.6, val_images=count)) for count in (0, 3))
    names = [image.name for image in whole.validation[0].images]
    assert len(names) > 4 and [image.name for image in whole.train] == [image.name for image in few.train]
    # Evenly spaced, since files are often sorted.
    step = len(names) / 3
    assert [image.name for image in few.validation[0].images] == [names[int(row * step)] for row in range(3)]


@decides("val_every")
def _(runs: Runs, tmp_path: Path) -> None:
    results = runs.set_up(tmp_path, epochs=5, val_every=2).train().results
    assert [result.mean_cider is not None for result in results] == [False, True, False, True, True]


@decides("save_every")
def _(runs: Runs, tmp_path: Path) -> None:
    for every, saved in ((1, 2), (2, 2), (100, None)):
        set_up = runs.set_up(tmp_path, save_every=every, val=0.0)
        with pytest.raises(KeyboardInterrupt):
            set_up.train(stop=3)
        folder = set_up.folder
        assert (folder.load("last")["update"] if folder.has("last") else None) == saved


@decides("device")
def _(runs: Runs, tmp_path: Path) -> None:
    assert runs.set_up(tmp_path, device="cpu").machine.device.type == "cpu"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        assert device_module.choose_device("auto").type == "cpu"
        with pytest.raises(UsageError, match="no CUDA device"):
            runs.set_up(tmp_path, device="cuda")
        patch.setattr(torch.cuda, "is_available", lambda: True)
        assert [device_module.choose_device(name).type for name in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]


@decides("precision")
def _(runs: Runs, tmp_path: Path) -> None:
    assert runs.set_up(tmp_path, precision="mixed").machine.autocast == torch.bfloat16
    assert runs.set_up(tmp_path, precision="float32").machine.autocast is None


@decides("threads")
def _(runs: Runs, tmp_path: Path) -> None:
    for count in (1, 2):
        runs.set_up(tmp_path, threads=count)
        assert torch.get_num_threads() == count
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_module, "available_cores", lambda: 3)
        runs.set_up(tmp_path, threads=0)
        assert torch.get_num_threads() == 3


@decides("workers")
def _(runs: Runs, tmp_path: Path) -> None:
    assert [runs.set_up(tmp_path, workers=count).machine.workers for count in (0, 2)] == [1, 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_module, "available_cores", lambda: 6)
        workers = [device_module.choose_workers(TrainConfig(workers=n), torch.device("cuda")) for n in (0, 2)]
    # One core is the network's.
    assert workers == [5, 2]


def test_every_setting_has_one_check() -> None:
    assert sorted(name for names in CHECKS for name in names) == sorted(item.name for item in fields(TrainConfig))


@pytest.mark.parametrize("names", CHECKS, ids="-".join)
def test_settings_reach_their_place(names: tuple[str, ...], runs: Runs, tmp_path: Path) -> None:
    CHECKS[names](runs, tmp_path)


def test_known_words_are_learnt_and_unknown_ones_are_not(runs: Runs, tmp_path: Path) -> None:
    set_up = runs.set_up(tmp_path, min_count=2, val=0.0, batch_size=12)
    batch = set_up.plan[0]
    unknown = set_up.folder.read_tokenizer().unknown
    assert sum(words.count(unknown) for captions in batch.references for words in captions) == 1
    assert int((batch.sentences.targets == Sentences.IGNORED).sum()) == 1
