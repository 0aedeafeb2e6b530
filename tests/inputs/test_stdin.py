"""What standard input holds: an image, or paths as soon as each is known; anything else is told."""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capcli.errors import UsageError
from capcli.inputs.kinds import is_foreign, sniff
from capcli.inputs.paths import FolderRules, InputItem, find_inputs
from capcli.inputs.stdin import LONGEST_PATH, read_stdin
from tests.photos import write_photo


def held(*pieces: bytes, nul: bool = False) -> list[str | bytes]:
    return list(read_stdin(reader(pieces), nul_separated=nul))


def reader(pieces: Iterable[bytes]) -> Reader:
    return Reader([*pieces, b""])


class Reader:
    """Gives one piece a call."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = iter(pieces)

    def __call__(self, count: int) -> bytes:
        return next(self._pieces)


def test_lines_are_paths() -> None:
    assert held(b"a.jpg\nb c.jpg\r\n\n d.jpg") == ["a.jpg", "b c.jpg", " d.jpg"]
    assert held(b"a\n.jpg\0b.jpg\r\0", nul=True) == ["a\n.jpg", "b.jpg\r"]
    assert held() == []


@given(
    st.lists(st.binary(min_size=1, max_size=8).filter(lambda path: b"\0" not in path), max_size=8), st.integers(0, 1000)
)
def test_paths_do_not_depend_on_how_they_arrive(names: list[bytes], seed: int) -> None:
    stream = b"".join(name + b"\0" for name in names)
    if sniff(stream[:64]) is not None or is_foreign(stream[:64]) or stream[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return
    chance = random.Random(seed)
    cuts = sorted(chance.sample(range(len(stream) + 1), min(3, len(stream))))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if stream[a:b]]
    try:
        said = held(*pieces, nul=True)
    except UsageError:
        # A kind that is told by its first bytes may come in pieces.
        assert is_foreign(stream[: len(pieces[0])])
        return
    assert [os.fsencode(path) for path in said] == names


def test_a_path_is_known_as_soon_as_its_line_is() -> None:
    seen: list[str | bytes] = []
    asked = 0

    def read(count: int) -> bytes:
        nonlocal asked
        asked += 1
        assert asked < 9
        if len(seen) == 3:
            return b""
        # The reader asks for more only after it has passed on what it knows.
        return f"{len(seen)}.jpg\n".encode()

    for path in read_stdin(read, nul_separated=False):
        seen.append(path)
    assert seen == ["0.jpg", "1.jpg", "2.jpg"]


@pytest.mark.parametrize("first", [2, 5, 20])
def test_an_image_is_told_from_paths_in_whatever_pieces_it_comes(first: int, tmp_path: Path) -> None:
    for kind in ("jpg", "png", "bmp", "webp", "gif", "tiff"):
        content = write_photo(tmp_path / f"a.{kind}", "chelsea").read_bytes()
        assert held(content[:first], content[first:30], content[30:]) == [content]
    found = find_inputs(["-"], FolderRules(), read_stdin=reader([content]))
    assert list(found) == [InputItem("-", content)]


def test_a_list_may_begin_like_an_image_and_with_a_byte_order_mark() -> None:
    assert held(b"BMW/a.jpg\nBMW/b.jpg\n") == ["BMW/a.jpg", "BMW/b.jpg"]
    assert held(b"BM.jpg") == ["BM.jpg"]
    assert held(b"GIF89a.gif\na.jpg\n") == held(b"GIF89", b"a.gif\na.", b"jpg") == ["GIF89a.gif", "a.jpg"]
    assert held(b"RIFF of WEBP.webp\n", b"a.jpg") == ["RIFF of WEBP.webp", "a.jpg"]
    assert held(b"\xef\xbb\xbfa.jpg\r\nb.jpg") == ["a.jpg", "b.jpg"]
    assert held(b"\xef\xbb\xbfa.jpg\0b.jpg\0", nul=True) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("content", "nul", "said"),
    [
        ("a.jpg\nb.jpg\n".encode("utf-16"), False, "UTF-16; save the list as UTF-8"),
        ("a.jpg\nb.jpg\n".encode("utf-16-le"), False, "UTF-16; save the list as UTF-8"),
        ("a.jpg\nb.jpg\n".encode("utf-16-be"), False, "UTF-16; save the list as UTF-8"),
        (b"a.jpg\rb.jpg\r", False, "end with CR alone; save the list with LF"),
        # Every other byte is 0, and yet it is no text.
        (bytes((0, 0, 2)) + bytes(9) + b"\4\0\4\0\x18\0" + bytes(40), False, "NUL bytes"),
        (b"a.jpg\0b.jpg\0", False, "NUL bytes: add -0"),
        (b"a.jpg\nb.jpg\0c.jpg", False, "NUL bytes: add -0"),
        (b"a.jpg\nb.jpg\n", True, "leave out -0"),
        (b"%PDF-1.7\n%\xe2\xe3\n1 0 obj\n", False, "standard input is a PDF"),
        (b"<!doctype html>\n<html>", False, "standard input is a web page"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(50), False, "standard input is a video"),
        (base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(100)), False, "base64 -d"),
        (b"data:image/png;base64,iVBORw0KGgoAAAA", False, "base64 -d"),
        (b"x" * (LONGEST_PATH + 1), False, "65536 bytes without a line end"),
        (b"x" * (LONGEST_PATH + 1) + b"\n", False, "65536 bytes without a line end"),
        (b"x\n" * LONGEST_PATH, True, "leave out -0"),
    ],
)
def test_what_is_neither_an_image_nor_paths_is_told(content: bytes, nul: bool, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        held(content, nul=nul)
    assert len(str(caught.value)) < 160


def test_nul_bytes_are_told_wherever_they_come() -> None:
    read = read_stdin(reader([b"a.jpg\n" * 20, b"b.jpg\0c.jpg\n"]), nul_separated=False)
    with pytest.raises(UsageError, match="NUL bytes: add -0"):
        list(read)


def test_a_stream_without_ends_is_not_read_to_its_end() -> None:
    asked = 0

    def read(count: int) -> bytes:
        nonlocal asked
        asked += 1
        assert asked < 4
        return b"x" * count

    with pytest.raises(UsageError, match="neither an image nor paths"):
        list(read_stdin(read, nul_separated=False))


def test_a_path_that_is_there_is_a_path_whatever_it_looks_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("<html>.jpg", "%PDF.jpg", "a\nb.jpg"):
        if os.name == "nt":
            pytest.skip("such names are not allowed on Windows")
        Path(name).touch()
    assert held(b"<html>.jpg\n%PDF.jpg\n") == ["<html>.jpg", "%PDF.jpg"]
    assert held(b"a\nb.jpg", nul=True) == ["a\nb.jpg"]
