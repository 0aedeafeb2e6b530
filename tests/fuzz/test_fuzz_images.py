"""A short run of the fuzzer, and that it would see what it looks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from capcli.inputs.kinds import sniff
from capcli.inputs.loaders import Loaders
from tests.fuzz.fuzz_images import LONGEST_S, MAX_PIXELS, SIZE, fuzz, judged, mutated
from tests.fuzz.mutations import hostile
from tests.fuzz.seeds import seeds
from tests.harmful import harmful_decoder, photo_saying


def test_hostile_files_have_one_result_each(tmp_path: Path) -> None:
    with Loaders(2, longest_s=LONGEST_S) as loaders:
        block = fuzz(loaders, 2, mutated(0), 0, 800, tmp_path)
    assert block.findings == []
    # Neither is everything refused at the first look, nor is everything left whole.
    assert 100 < block.read < 400
    assert len(block.reasons) > 20


def test_whole_files_are_read_and_of_every_kind() -> None:
    files = seeds()
    with Loaders(1) as loaders:
        for content in files.values():
            loaders.load(content, size=SIZE, max_pixels=MAX_PIXELS)
    found = {sniff(content[:64]) for content in files.values()}
    assert found >= {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "ICO", "JPEG2000"}


def test_inputs_are_the_same_each_time() -> None:
    files = seeds()
    assert [hostile(files, 3, number) for number in range(50)] == [hostile(files, 3, number) for number in range(50)]
    assert len({hostile(files, 3, number)[1] for number in range(50)}) > 45


def test_a_decoder_that_crashes_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(harmful_decoder(tmp_path / "harmful")))
    bad, good = (photo_saying(word, tmp_path / word).read_bytes() for word in ("crash", "nothing"))
    with Loaders(1) as loaders:
        block = fuzz(loaders, 1, lambda number: ("", bad if number == 3 else good), 1, 5, tmp_path)
    (finding,) = block.findings
    assert finding.startswith("3 (): ") and "its decoder crashed" in finding
    assert block.read == 4


@pytest.mark.parametrize(
    ("captions", "error", "wrong"),
    [
        (("read",), None, False),
        ((), "is a damaged PNG image", False),
        ((), None, True),
        (("read",), "is a damaged PNG image", True),
        ((), "two\nlines", True),
        ((), "", True),
        ((), "x" * 400, True),
        ((), "cannot be read (ZeroDivisionError: division by zero)", True),
        ((), "is given up: reading it took longer than 10 s", True),
    ],
)
def test_what_is_no_result_is_found(captions: tuple[str, ...], error: str | None, wrong: bool) -> None:
    assert (judged(captions, error) is not None) is wrong
