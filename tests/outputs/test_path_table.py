"""What is kept of each path of a run: little, exactly, and whichever thread asks."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.outputs.beside import Beside
from capcli.outputs.compaction import Gaps
from capcli.outputs.output_file import Existing, OutputFile
from capcli.outputs.path_keys import PathKeys
from capcli.outputs.path_table import KEY_BYTES, PathTable
from capcli.outputs.rows import Row, row_format

# Just after their table has grown for the last time.
PATHS = 11_500
# Of which many begin, or end, alike, so that they want the same slots.
KEYS = st.integers(0, 11).map(lambda number: (number % 3).to_bytes(8, "little") + (number // 3).to_bytes(2, "little"))


def bytes_a_path(work: Callable[[], object], paths: int = PATHS) -> float:
    """The most memory that something takes while it is done, for each path."""
    tracemalloc.start()
    try:
        kept = work()
        return tracemalloc.get_traced_memory()[1] / paths
    finally:
        tracemalloc.stop()
        del kept


def test_each_path_of_a_run_takes_at_most_a_hundred_bytes(tmp_path: Path) -> None:
    form = row_format("csv", ranked=False)

    def claim_all() -> OutputFile:
        output = OutputFile(tmp_path / "x.csv", form)
        assert all(output.claim(f"photos/{number % 9}/IMG_{number}.jpg") for number in range(PATHS))
        return output

    assert bytes_a_path(claim_all) <= 100


def test_each_row_of_a_resumed_file_takes_at_most_a_hundred_bytes_failed_or_not(tmp_path: Path) -> None:
    form, file, count = row_format("csv", ranked=False), tmp_path / "x.csv", 4200
    rows = [
        Row(f"{number}.jpg", None if number % 2 else "A dog.", None, "is empty" if number % 2 else None)
        for number in range(count)
    ]
    file.write_bytes(form.header() + b"".join(map(form.record, rows)))

    def resume() -> OutputFile:
        return OutputFile(file, form, existing=Existing.RESUME, retry_failed=True)

    assert bytes_a_path(resume, count) <= 100


def test_each_file_beside_a_photo_takes_at_most_a_hundred_bytes() -> None:
    count = 1500

    def claim_all() -> Beside:
        beside = Beside(None, (), None)
        for number in range(count):
            beside.claim(f"{number}.jpg", f"{number}.txt")
        return beside

    assert bytes_a_path(claim_all, count) <= 100


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["get", "add", "put"]), KEYS, st.integers(1, 2**48 - 1))))
def test_a_table_knows_what_a_dictionary_knows(steps: list[tuple[str, bytes, int]]) -> None:
    table, known = PathTable(), dict[bytes, int]()
    for what, key, number in steps:
        if what == "get":
            assert table.get(key) == known.get(key, 0)
        elif what == "add":
            assert table.add(key, number) == known.get(key, 0)
            known.setdefault(key, number)
        else:
            table.put(key, number)
            known[key] = number
    assert len(table) == len(known)
    assert all(table.get(key) == number for key, number in known.items())


@pytest.mark.parametrize("expected", [0, 10, 5000])
def test_a_table_that_has_grown_has_lost_and_invented_nothing(expected: int) -> None:
    table, key = PathTable(), PathKeys().key
    for number in range(1, 2001):
        assert table.add(key(f"{number}.jpg"), number) == 0
        if number == 500:
            table.make_room(expected)
    assert all(table.get(key(f"./{number}.jpg")) == number for number in range(1, 2001))
    assert not any(table.get(key(f"{number}.png")) for number in range(1, 2001))


def test_threads_may_change_a_table_while_it_grows() -> None:
    table, key = PathTable(), PathKeys().key
    keys = [key(str(number)) for number in range(6000)]
    table.add(keys[0], 1)
    others = threading.Thread(target=lambda: [table.add(each, 7) for each in keys[1:]])
    others.start()
    last = 1
    while others.is_alive():
        last += 1
        table.put(keys[0], last)
        assert table.get(keys[0]) == last
    others.join()
    assert all(table.get(each) == 7 for each in keys[1:])


def test_keys_have_the_length_that_tables_take() -> None:
    assert len(PathKeys().key("a.jpg")) == KEY_BYTES


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=12), st.integers(0, 40))
def test_what_is_left_between_gaps_is_what_no_gap_holds(stretches: list[tuple[int, int]], end: int) -> None:
    gaps = Gaps()
    for start, length in stretches:
        gaps.add(start, start + length)
    assert bool(gaps) == bool(stretches)
    gone = {byte for start, length in stretches for byte in range(start, start + length)}
    end = max([end, *(byte + 1 for byte in gone)])
    left = [byte for start, stop in gaps.between(end) for byte in range(start, stop)]
    assert left == [byte for byte in range(end) if byte not in gone]
