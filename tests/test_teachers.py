"""Teachers: what they say of people's captions, word for word, and what is learnt from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the train extra")

from collections.abc import Sequence  # noqa: E402

from torch import Tensor  # noqa: E402

from capcli.tokens import Tokenizer  # noqa: E402
from capcli.training.augment import Augmentation, View  # noqa: E402
from capcli.training.batches import Batch, BatchPlan, Sentences, SoftTargets, TrainingImage  # noqa: E402
from capcli.training.network import Decoder, DecoderConfig, build_decoder  # noqa: E402
from capcli.training.objectives import CrossEntropy, Objective  # noqa: E402
from capcli.training.resnet import grid  # noqa: E402
from capcli.training.teachers import Teacher, ask  # noqa: E402

CAPTIONS = (
    ("a red dog runs", "the dog"),
    ("a blue cat left of a dog",),
    ("the red cat", "a cat", "dog right of a cat"),
)
TOKENIZER = Tokenizer.learn([caption for captions in CAPTIONS for caption in captions], 1)
IMAGES = [
    TrainingImage(
        Path(f"{row}.png"),
        tuple(tuple(TOKENIZER.encode(caption)) for caption in captions),
        tuple(row == 1 for _ in captions),  # the second image's caption lost its end
    )
    for row, captions in enumerate(CAPTIONS)
]


class Maps:
    """The same random map for a path whenever it is asked for, mirrored where the view is."""

    def read(self, paths: Sequence[Path], views: Sequence[View]) -> Tensor:
        maps = [
            torch.from_numpy(np.random.default_rng(int(path.stem)).normal(size=(8, 2, 2)).astype(np.float32))
            for path in paths
        ]
        read: Tensor = torch.stack(
            [part.flip(-1) if view.flip else part for part, view in zip(maps, views, strict=True)]
        )
        return read


def make_decoder(seed: int) -> Decoder:
    torch.manual_seed(seed)
    decoder = build_decoder(DecoderConfig("attention", len(TOKENIZER), 8, 12, 6, 5)).eval()
    with torch.no_grad():
        decoder.output_bias.normal_(std=2)  # so that the words differ
    return decoder


def ask_all(decoders: Sequence[Decoder]) -> SoftTargets:
    return ask(
        [Teacher(decoder, Maps()) for decoder in decoders],
        IMAGES,
        TOKENIZER,
        device=torch.device("cpu"),
        autocast=None,
        progress=lambda done, total: None,
    )


def test_rows_are_the_mean_of_the_teachers_word_after_word() -> None:
    decoders = [make_decoder(1), make_decoder(2)]
    said = ask_all(decoders)
    row = 0
    for image in IMAGES:
        features = grid(Maps().read([image.path], [View()]))
        for words in image.said(TOKENIZER.end):
            mean = torch.zeros(len(words), len(TOKENIZER))
            for decoder in decoders:
                with torch.inference_mode():
                    context, state = decoder.prepare(features)
                    for place, token in enumerate([TOKENIZER.start, *words[:-1]]):
                        log_probs, state, _ = decoder.step(torch.tensor([token]), state, context)
                        mean[place] += log_probs[0].exp() / len(decoders)
            for place in range(len(words)):
                best = mean[place].topk(said.tokens.shape[1])
                assert said.tokens[row].tolist() == best.indices.tolist()
                wanted = best.values / best.values.sum()
                assert torch.allclose(said.probabilities[row].float(), wanted, atol=1e-3)
                row += 1
    assert row == len(said.tokens)


def make_plan(soft: SoftTargets, seed: int, flip: bool) -> BatchPlan:
    left, right = TOKENIZER.encode("left")[0], TOKENIZER.encode("right")[0]
    return BatchPlan(
        IMAGES,
        Maps(),
        batch_size=2,
        seed=seed,
        start=TOKENIZER.start,
        end=TOKENIZER.end,
        unknown=TOKENIZER.unknown,
        augmentation=Augmentation(flip, 1.0, 0.0),
        swaps={left: right, right: left},
        soft=soft,
    )


@given(st.integers(0, 99), st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_word_of_a_batch_finds_its_row(seed: int, flip: bool) -> None:
    # A teacher that is sure of people's words: every target must meet itself, in mirrored images too.
    sure = [word for image in IMAGES for words in image.said(TOKENIZER.end) for word in words]
    soft = SoftTargets(torch.tensor(sure, dtype=torch.int16)[:, None], torch.ones(len(sure), 1, dtype=torch.float16))
    targets = 0
    for batch in make_plan(soft, seed, flip).epoch(0):
        assert batch.soft is not None
        assert batch.soft.tokens[:, 0].tolist() == batch.sentences.targets.tolist()
        targets += len(batch.sentences.targets)
    assert targets == len(sure)


def value(share: float, soft: SoftTargets | None, smoothing: float = 0.0) -> Objective:
    batch = next(iter(make_plan(ask_all([make_decoder(1)]), 3, False).epoch(0)))
    batch.sentences.targets[1] = Sentences.IGNORED
    batch = replace(batch, soft=batch.soft if soft is None else soft)
    features = grid(batch.maps)
    with torch.no_grad():
        return CrossEntropy(smoothing, share)(make_decoder(2), features, batch)


def test_the_loss_is_shared_between_people_and_teachers() -> None:
    people, teachers, both = value(0.0, None, 0.1), value(1.0, None, 0.1), value(0.3, None, 0.1)
    assert float(both.loss) == pytest.approx(0.7 * float(people.loss) + 0.3 * float(teachers.loss), rel=1e-5)
    assert float(teachers.loss) != pytest.approx(float(people.loss), rel=1e-3)
    # What is reported stays comparable: people's words.
    assert both.nats == people.nats and both.words == people.words


def test_a_teacher_that_says_what_people_say_is_plain_cross_entropy() -> None:
    batch: Batch = next(iter(make_plan(ask_all([make_decoder(1)]), 3, False).epoch(0)))
    sure = SoftTargets(batch.sentences.targets[:, None].clone(), torch.ones(len(batch.sentences.targets), 1))
    assert float(value(1.0, sure).loss) == pytest.approx(float(value(0.0, None).loss), rel=1e-5)


def test_learning_from_teachers_goes_towards_them() -> None:
    batch = next(iter(make_plan(ask_all([make_decoder(1)]), 3, False).epoch(0)))
    student, objective = make_decoder(2), CrossEntropy(0.0, 1.0)
    optimizer = torch.optim.Adam(student.parameters(), 0.02)
    losses = []
    for _ in range(60):
        loss = objective(student, grid(batch.maps), batch).loss
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert batch.soft is not None
    own = batch.soft.probabilities
    entropy = float(-(own * own.clamp_min(1e-9).log()).sum(1).mean())
    assert losses[-1] - entropy < 0.25 * (losses[0] - entropy)
