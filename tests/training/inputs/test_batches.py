"""Batches: which images and captions an update sees, laws that hold for any seed and size."""

from __future__ import annotations

import os
import signal
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import Tensor  # noqa: E402

from capcli.bundle.tokens import Tokenizer  # noqa: E402
from capcli.errors import TrainingError  # noqa: E402
from capcli.training.inputs.augment import Augmentation, View  # noqa: E402
from capcli.training.inputs.batches import Batch, BatchPlan  # noqa: E402
from capcli.training.inputs.corruptions import CorruptionChances  # noqa: E402
from capcli.training.inputs.examples import EncodedImage  # noqa: E402

TOKENIZER = Tokenizer.learn(["a dog runs left", "the cat on the right", "two birds"], 1)
LEFT, RIGHT = TOKENIZER.encode("left right")


class Seen:
    """A source whose inputs are what was asked for: the image's number and whether it is mirrored."""

    def read(self, paths: Sequence[Path], views: Sequence[View]) -> Tensor:
        maps: Tensor = torch.tensor([[float(p.stem), float(view.flip)] for p, view in zip(paths, views, strict=True)])
        return maps


class Drawn:
    """A source whose inputs are the drawn views: mirrored or not, the crop's box and the light."""

    def read(self, paths: Sequence[Path], views: Sequence[View]) -> Tensor:
        rows = [
            [float(path.stem), float(view.flip), *(view.box or ()), view.brightness, view.contrast, view.saturation]
            for path, view in zip(paths, views, strict=True)
        ]
        maps: Tensor = torch.tensor(rows, dtype=torch.float64)
        return maps


def make_plan(
    count: int, batch_size: int, seed: int, augmentation: Augmentation | None = None, source: Seen | Drawn | None = None
) -> BatchPlan:
    left = TOKENIZER.encode("a dog runs left")
    right = TOKENIZER.encode("the cat on the right right")
    return BatchPlan(
        [
            EncodedImage(Path(f"{n}.jpg"), (tuple(left), tuple(right[: 1 + n % 6])), (False, n % 6 < 5), n % 2)
            for n in range(count)
        ],
        source or Seen(),
        batch_size=batch_size,
        seed=seed,
        start=TOKENIZER.start,
        end=TOKENIZER.end,
        unknown=TOKENIZER.unknown,
        augmentation=augmentation or Augmentation(flip=True),
        swaps={LEFT: RIGHT, RIGHT: LEFT},
    )


def numbers(batch: Batch) -> list[int]:
    return [int(row) for row in batch.inputs[:, 0]]


def epoch(plan: BatchPlan, number: int) -> list[Batch]:
    size = plan.updates_per_epoch
    return [plan[update] for update in range(number * size, (number + 1) * size)]


plans = st.tuples(st.integers(1, 25), st.integers(1, 9), st.integers(0, 10**6))


@given(plans, st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_an_epoch_sees_every_image_once_in_full_batches_but_the_last(size: tuple[int, int, int], which: int) -> None:
    count, batch_size, seed = size
    plan = make_plan(count, batch_size, seed)
    batches = epoch(plan, which)
    assert sorted(number for batch in batches for number in numbers(batch)) == list(range(count))
    assert all(len(batch.inputs) == batch_size for batch in batches[:-1]) and 1 <= len(batches[-1].inputs) <= batch_size
    assert len(plan) == len(batches) == -(-count // batch_size)


@given(st.integers(0, 10**6), st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_order_depends_on_seed_and_epoch_and_on_nothing_else(seed: int, which: int) -> None:
    def order(plan: BatchPlan, number: int) -> list[int]:
        return [image for batch in epoch(plan, number) for image in numbers(batch)]

    plan = make_plan(40, 7, seed)
    first = order(plan, which)
    assert first != order(plan, which + 1) and first != order(make_plan(40, 7, seed + 1), which)
    # Asked for again, after others, in batches of another size: the same.
    assert first == order(plan, which) == order(make_plan(40, 16, seed), which)


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_a_view_depends_on_seed_epoch_and_image_not_on_the_batch(seed: int, one: int, other: int) -> None:
    augmentation = Augmentation(min_crop_area=0.4, color_jitter=0.5)

    def views(batch_size: int, which: int, seed: int = seed) -> dict[int, list[float]]:
        batches = epoch(make_plan(12, batch_size, seed, augmentation, Drawn()), which)
        return {int(row[0]): row[1:].tolist() for batch in batches for row in batch.inputs}

    assert views(one, 3) == views(other, 3)
    before, after, reseeded = views(one, 3), views(one, 4), views(one, 3, seed + 1)
    assert all(before[image][1:] != after[image][1:] != reseeded[image][1:] for image in before)
    # Images differ among each other too, and about every second is mirrored.
    assert len({tuple(view[1:]) for view in before.values()}) == 12
    mirrored = [view[0] for which in range(4) for view in views(12, which).values()]
    assert 6 <= sum(mirrored) <= 42


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("first", [0, 2, 5])
def test_the_batch_of_an_update_is_the_same_wherever_a_run_begins_and_whoever_prepares_it(
    workers: int, first: int
) -> None:
    augmentation = Augmentation(min_crop_area=0.4, corruptions=CorruptionChances(noise=0.5, tilt=0.5))
    plan = make_plan(11, 4, 9, augmentation, Drawn())
    given_batches = list(plan.batches(first, 8, workers=workers))
    assert len(given_batches) == 8 - first
    for update, batch in zip(range(first, 8), given_batches, strict=True):
        wanted = make_plan(11, 4, 9, augmentation, Drawn())[update]
        assert torch.equal(batch.inputs, wanted.inputs)
        assert torch.equal(batch.sentences.targets, wanted.sentences.targets)
        assert (batch.references, batch.data_sets) == (wanted.references, wanted.data_sets)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs sockets that are files")
def test_a_long_name_of_the_temporary_folder_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sockets that batches come through have names of at most 107 bytes."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    def too_late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(60)
    try:
        assert len(list(make_plan(5, 2, 1).batches(0, 3, workers=1))) == 3
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(os.name == "nt", reason="needs sockets that are files")
def test_without_a_folder_for_sockets_a_run_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 100)))
    monkeypatch.setattr("capcli.training.workers._SHORT_FOLDERS", (str(tmp_path / "missing"),))
    with pytest.raises(TrainingError, match=r"x: too long a name .* TMPDIR to one of at most 71 bytes, or .*workers 0"):
        make_plan(5, 2, 1).batches(0, 3, workers=1)
    assert len(list(make_plan(5, 2, 1).batches(0, 3, workers=0))) == 3


def test_batches_leave_the_random_state_alone() -> None:
    """A resumed run asks for its batches once more than one that was never stopped."""
    torch.manual_seed(3)
    state = torch.get_rng_state()
    list(make_plan(5, 2, 1).batches(0, 3, workers=1))
    assert torch.equal(torch.get_rng_state(), state)


@given(plans)
@settings(max_examples=40, deadline=None)
def test_left_and_right_change_places_in_the_captions_of_mirrored_images_and_only_there(
    size: tuple[int, int, int],
) -> None:
    for batch in epoch(make_plan(*size), 0):
        for (number, flip), references in zip(batch.inputs.tolist(), batch.references, strict=True):
            first, second = references
            words = TOKENIZER.encode("a dog runs right" if flip else "a dog runs left")
            assert first == [*words, TOKENIZER.end]
            whole = TOKENIZER.encode("the cat on the left left" if flip else "the cat on the right right")
            shown = 1 + int(number) % 6
            assert second == whole[:shown] + ([TOKENIZER.end] if shown == 6 else [])


def test_without_mirroring_no_image_is_mirrored() -> None:
    flips = [
        row[1] for batch in epoch(make_plan(60, 8, 4, Augmentation(flip=False)), 0) for row in batch.inputs.tolist()
    ]
    assert sum(flips) == 0
    flips = [row[1] for batch in epoch(make_plan(60, 8, 4), 0) for row in batch.inputs.tolist()]
    assert 15 <= sum(flips) <= 45


def test_an_image_keeps_the_number_of_its_data_set() -> None:
    for batch in epoch(make_plan(9, 4, 2), 1):
        assert batch.data_sets == [number % 2 for number in numbers(batch)]


def test_references_of_all_images_are_those_that_are_not_mirrored() -> None:
    by_set = make_plan(5, 2, 3).references()
    assert {number: len(images) for number, images in by_set.items()} == {0: 3, 1: 2}
    assert all(image[0] == [*TOKENIZER.encode("a dog runs left"), TOKENIZER.end] for image in by_set[0] + by_set[1])


def test_a_batchs_sentences_are_its_references_beside_their_images() -> None:
    batch = make_plan(6, 6, 1)[0]
    sentences = batch.sentences
    found: Counter[tuple[int, tuple[int, ...]]] = Counter()
    for row in range(len(sentences.lengths)):
        words = sentences.targets[sentences.owners == row].tolist()
        assert sentences.tokens[row, : sentences.lengths[row]].tolist() == [TOKENIZER.start, *words[:-1]]
        found[int(sentences.images[row]), tuple(words)] += 1
    wanted = Counter((row, tuple(words)) for row, captions in enumerate(batch.references) for words in captions)
    assert found == wanted


def test_numbers_of_images_are_what_numpy_gives_for_seed_and_epoch() -> None:
    """Runs of earlier versions are resumed: their order must not change."""
    order = [number for batch in epoch(make_plan(20, 6, 7), 2) for number in numbers(batch)]
    assert order == np.random.default_rng([7, 2]).permutation(20).tolist()
