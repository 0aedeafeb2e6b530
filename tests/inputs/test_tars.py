"""Tars become a stream of photos: in bounded memory, whatever they hold or claim."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from capcli import ImageError
from capcli.inputs import tar_members
from capcli.inputs.paths import FolderRules, InputItem, find_inputs
from capcli.inputs.tars import is_tar
from tests.conftest import python


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def with_sum(block: bytes | bytearray) -> bytes:
    """A header with its right checksum."""
    total = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
    return bytes(block[:148]) + b"%06o\0 " % total + block[156:]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def member(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    return header(name, len(content), kind) + padded(content)


END = bytes(1024)


def pack(path: Path, *parts: bytes) -> str:
    """Writes a tar of such parts; with gzip if it is called so."""
    content = b"".join(parts)
    path.write_bytes(gzip.compress(content) if path.suffix in (".gz", ".tgz") else content)
    return str(path)


Said = tuple[str, bytes | str | None]


def read(*arguments: str, rules: FolderRules | None = None, left_out: Counter[str] | None = None) -> list[Said]:
    """Paths below the first argument, each with its bytes or what is wrong; None where all of a tar was read."""
    said: list[Said] = []
    for item in find_inputs(arguments, rules or FolderRules(), left_out=left_out):
        what: bytes | str | None = item.error
        if callable(item.content):
            try:
                what = item.content()
            except ImageError as error:
                what = str(error)
        assert item.finished == (what is None)
        said.append((item.path.removeprefix(arguments[0]), what))
    return said


@pytest.fixture(params=["x.tar", "x.tar.gz"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path: Path = tmp_path / request.param
    return path


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_members_are_read_as_tarfile_wrote_them(tmp_path: Path, form: int, mode: str) -> None:
    names = ["a.jpg", "b/c.PNG", f"{'long ' * 19}/{'n' * 90}.jpg", "é 漢字.webp", "b/0.txt", "b/0.json", "d.cr2"]
    if form != tarfile.USTAR_FORMAT:
        names += [f"{'longer' * 40}.jpg", "two\nlines.jpg", "\udcff\udcfe.jpg", "/absolute.jpg"]
    chance = random.Random(form)
    contents = {name: chance.randbytes(chance.choice([0, 1, 511, 512, 513, 70_000])) for name in names}
    path = tmp_path / ("x.tar" if mode == "w" else "x.TAR.GZ")
    with tarfile.open(path, mode, format=form, encoding="utf-8", errors="surrogateescape") as tar:  # type: ignore[call-overload]
        tar.addfile(tarfile.TarInfo("./"), None)
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1.5
            tar.addfile(info, io.BytesIO(content))
    left_out: Counter[str] = Counter()
    photos = [(f"/{name}", content) for name, content in contents.items() if name[-4:] not in (".txt", "json", ".cr2")]
    assert read(str(path), left_out=left_out) == [*photos, ("", None)]
    assert left_out == {".cr2": 1}


def test_tars_stand_beside_photos_and_are_tars_only_where_they_are_named(place: Path, tmp_path: Path) -> None:
    path = pack(place, member("k.jpg", b"1"), END)
    (tmp_path / "a.png").touch()
    assert [item.path for item in find_inputs([path, str(tmp_path), "p.jpg"], FolderRules())] == [
        f"{path}/k.jpg",
        path,
        f"{tmp_path}/a.png",
        "p.jpg",
    ]
    pieces = iter([os.fsencode(path) + b"\n", b""])
    assert list(find_inputs(["-"], FolderRules(), read_stdin=lambda count: next(pieces))) == [InputItem(path)]


def test_what_is_taken_from_a_folder_is_taken_from_a_tar(place: Path) -> None:
    names = ["a.jpg", "._a.jpg", ".t/b.jpg", "@eaDir/c.jpg", "s/d.jpg", "s/t/e.png", "./f.gif", "g.txt", "dir.jpg/"]
    path = pack(place, *(member(name, b"") for name in names), header("d.jpg", 0, tarfile.DIRTYPE), END)

    def taken(**rules: object) -> list[str]:
        return [name for name, _ in read(path, rules=FolderRules(**rules))][:-1]  # type: ignore[arg-type]

    assert taken() == ["/a.jpg", "/s/d.jpg", "/s/t/e.png", "/./f.gif"]
    assert taken(recursive=False) == ["/a.jpg", "/./f.gif"]
    assert taken(hidden=True) == [f"/{name}" for name in names if name[-1] in "gf"]
    assert taken(exclude=("t", "f*")) == ["/a.jpg", "/s/d.jpg"]
    assert taken(include=("s/*.jpg", "g.*")) == ["/s/d.jpg", "/g.txt"]


def test_a_file_is_a_tar_by_its_name_and_by_how_it_begins(tmp_path: Path) -> None:
    whole = member("GIF89a.gif", b"x") + END
    kinds = {
        "x.tar": (whole, True),
        "x.TGZ": (gzip.compress(whole), True),
        "packed.tar": (gzip.compress(whole), True),
        "x": (whole, False),
        "x.jpg": (whole, False),
        "photo.tar": (b"\xff\xd8\xff" + bytes(600), False),
        "page.tar": (b"<!DOCTYPE html><p>404</p>", False),
        "empty.tar": (b"", False),
    }
    for name, (content, _) in kinds.items():
        (tmp_path / name).write_bytes(content)
    assert {name: is_tar(str(tmp_path / name)) for name in kinds} == {
        name: wanted for name, (_, wanted) in kinds.items()
    }
    (tmp_path / "folder.tar").mkdir()
    (tmp_path / "folder.tar" / "a.jpg").touch()
    assert [item.path for item in find_inputs([str(tmp_path / "folder.tar")], FolderRules())] == [
        str(tmp_path / "folder.tar" / "a.jpg")
    ]
    assert not is_tar(str(tmp_path / "gone.tar")) and not is_tar("a\0b.tar")
    if os.name != "nt":
        os.mkfifo(tmp_path / "pipe.tar")
        assert not is_tar(str(tmp_path / "pipe.tar"))


def test_a_tar_without_photos_says_so(place: Path) -> None:
    assert read(pack(place, bytes(10240))) == [("", "holds no photo")]
    assert read(pack(place, member("a.txt", b"text"), END)) == [("", "holds no photo")]


def test_what_is_no_tar_says_so(tmp_path: Path) -> None:
    for name, content in [("text.tar", b"some notes\n"), ("noise.tar", random.Random(1).randbytes(5000))]:
        (tmp_path / name).write_bytes(content)
        assert read(str(tmp_path / name)) == [("", "is no tar, plain or packed with gzip")]
    assert read(pack(tmp_path / "photo.tar.gz", b"\xff\xd8\xff" + bytes(600)))[0][1] == (
        "is no tar, plain or packed with gzip"
    )


def test_cut_anywhere_a_tar_gives_what_is_whole_and_one_line(place: Path) -> None:
    chance = random.Random(2)
    contents = [("1.jpg", chance.randbytes(700)), ("1.txt", b"text"), ("2.jpg", chance.randbytes(512)), ("3.jpg", b"3")]
    whole = b"".join(member(name, content) for name, content in contents) + END
    photos = [(f"/{name}", content) for name, content in contents if name != "1.txt"]
    packed = place.suffix == ".gz"
    stored = gzip.compress(whole) if packed else whole
    # Where the last photo's bytes end in the plain tar, only the end is missing.
    for cut in range(1, len(stored) - 512 if not packed else len(stored), 3):
        place.write_bytes(stored[:cut])
        said = read(str(place))
        assert said[:-1] == photos[: len(said) - 1]
        name, what = said[-1]
        assert name == "" and isinstance(what, str), cut
        if not packed and cut >= 512:
            assert what.startswith("ends too early"), cut
    place.write_bytes(stored)
    assert read(str(place)) == [*photos, ("", None)]


def test_damage_in_the_middle_is_told_and_not_taken_for_the_end(tmp_path: Path) -> None:
    parts = [member("1.jpg", b"1"), member("2.jpg", b"2"), END]
    path = tmp_path / "x.tar"
    content = bytearray(b"".join(parts))
    content[1024 + 20] ^= 1
    path.write_bytes(content)
    damaged = "is damaged: the next header cannot be read; nothing after 1.jpg was read"
    assert read(str(path)) == [("/1.jpg", b"1"), ("", damaged)]
    # As it looks after a crash, and after `cat a.tar b.tar`.
    pack(path, parts[0], END, parts[1], END)
    said = read(str(path))
    assert said[0] == ("/1.jpg", b"1") and str(said[1][1]).startswith("goes on after its end")


def test_what_gzip_cannot_unpack_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    photo = random.Random(3).randbytes(5000)
    packed = bytearray(gzip.compress(member("1.jpg", photo) + END))
    for place, reason in ((len(packed) - 6, "is damaged: what gzip"), (12, "is ")):
        damaged = bytearray(packed)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        assert str(read(str(path))[-1][1]).startswith(reason)
    # Several packed parts are one, as `cat a.gz b.gz` and pigz make them.
    path.write_bytes(gzip.compress(member("1.jpg", photo)[:2000]) + gzip.compress(member("1.jpg", photo)[2000:] + END))
    assert read(str(path)) == [("/1.jpg", photo), ("", None)]


def test_links_and_devices_are_told_and_not_read(place: Path) -> None:
    kinds = {"s.jpg": tarfile.SYMTYPE, "h.jpg": tarfile.LNKTYPE, "d.jpg": tarfile.CHRTYPE, "p.jpg": tarfile.FIFOTYPE}
    said = read(pack(place, *(header(name, 0, kind) for name, kind in kinds.items()), member("a.jpg", b"a"), END))
    link, other = "is a link within the tar, which is not read", "is no regular file, which is not read"
    assert said == [
        ("/s.jpg", link),
        ("/h.jpg", link),
        ("/d.jpg", other),
        ("/p.jpg", other),
        ("/a.jpg", b"a"),
        ("", None),
    ]


def test_files_with_holes_are_told_and_passed_by(place: Path) -> None:
    old = bytearray(header("old.jpg", 512, tarfile.GNUTYPE_SPARSE))
    old[482] = 1
    more = bytes(504) + b"\1" + bytes(7)
    pax = member("x", b"22 GNU.sparse.major=1\n", tarfile.XHDTYPE) + member("new.jpg", b"0" * 600)
    said = read(pack(place, with_sum(old), more, bytes(512), b"d" * 512, pax, member("a.jpg", b"a"), END))
    holes = "is stored as a file with holes, which is not read"
    assert said == [("/old.jpg", holes), ("/new.jpg", holes), ("/a.jpg", b"a"), ("", None)]


def test_names_that_are_no_paths_below_the_tar_are_left_out_and_told(place: Path) -> None:
    longest = "n" * 5000 + ".jpg"
    odd = [
        member("../a.jpg", b"1"),
        member("b/../../c.jpg", b"2"),
        member("../no photo.txt", b""),
        member("L", longest.encode() + b"\0", tarfile.GNUTYPE_LONGNAME) + member("n", b"3"),
        member("x", b"16 path=a\0b.jpg\n", tarfile.XHDTYPE) + member("a", b"4"),
    ]
    said = read(pack(place, *odd, member("c..jpg", b"5"), END))
    assert said == [("/c..jpg", b"5"), ("", "4 left out whose names are no paths below it, such as ../a.jpg")]


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE, tarfile.REGTYPE]
)
def test_headers_and_members_that_claim_or_hold_gigabytes_take_no_memory(
    tmp_path: Path, kind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zeros by the megabyte, which gzip packs into nothing; the limit is lowered instead of reading a gigabyte."""
    monkeypatch.setattr(tar_members, "MOST_BYTES", 1 << 20)
    size = 48 << 20
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(member("1.jpg", b"1") + header("2.jpg", size, kind))
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
        file.write(member("3.jpg", b"3") + END)
    tracemalloc.start()
    said = read(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    assert said[0] == ("/1.jpg", b"1")
    if kind == tarfile.REGTYPE:
        assert said[1] == (
            "/2.jpg",
            f"is too large: {size} bytes, more than the {1 << 20} that are read of one in a tar",
        )
    if kind in (tarfile.REGTYPE, tarfile.XGLTYPE):
        assert said[-2:] == [("/3.jpg", b"3"), ("", None)]
    else:
        assert said[1:] == [("", f"is damaged: a header of {size} bytes; nothing after 1.jpg was read")]


def test_sizes_without_sense_are_damage(place: Path) -> None:
    negative = bytearray(header("2.jpg"))
    negative[124:136] = b"\xff" * 12
    huge = header("2.jpg", 1 << 80)
    records = [b"0 path=x\n", b"99 path=x\n", b"path=x\n", b"9 path=xyz", b"11 size=-1\n", b"9\xb2 path=x\n"]
    bad = [with_sum(negative), huge, *(member("x", each, tarfile.XHDTYPE) + member("2.jpg", b"2") for each in records)]
    for each in bad:
        said = read(pack(place, member("1.jpg", b"1"), each, END))
        assert said[0] == ("/1.jpg", b"1") and said[1][0] in ("", "/2.jpg"), each
        assert str(said[-1][1]).startswith(("is damaged: ", "ends too early")), each


def test_noise_in_a_tar_ends_in_words(place: Path) -> None:
    chance = random.Random(5)
    parts = [member("x", b"15 path=9.jpg\n\n", tarfile.XHDTYPE), member("1.jpg", chance.randbytes(900)), END]
    whole = b"".join(parts)
    for _ in range(300):
        noisy = bytearray(whole)
        for _ in range(chance.choice([1, 3, 30])):
            noisy[chance.randrange(len(noisy))] = chance.randrange(256)
        # A right sum lets wrong fields through.
        for start in range(0, len(noisy) - 512, 512):
            if chance.random() < 0.7:
                noisy[start : start + 512] = with_sum(noisy[start : start + 512])
        for what in read(pack(place, bytes(noisy))):
            assert what[1] is None or isinstance(what[1], (str, bytes))


def test_the_bytes_of_a_plain_tar_are_read_only_when_they_are_asked_for(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.tar", member("1.jpg", b"1" * 300_000), member("2.jpg", b"2"), END)
    items = list(find_inputs([path], FolderRules()))
    assert callable(items[0].content)
    with pytest.raises(ImageError, match="a tar is read from its start"):
        items[0].content()
    again = find_inputs([path], FolderRules())
    first = next(again)
    Path(path).write_bytes(b"")
    assert callable(first.content)
    with pytest.raises(ImageError, match="the tar ends too early"):
        first.content()


def test_memory_is_flat_in_the_number_of_members(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with path.open("wb") as file:
        for number in range(6_000):
            file.write(member(f"{number}.jpg", b""))
        file.write(END)
    tracemalloc.start()
    items = find_inputs([str(path)], FolderRules())
    for _ in range(1000):
        next(items)
    early = tracemalloc.get_traced_memory()[1]
    assert sum(1 for _ in items) == 5_001
    assert tracemalloc.get_traced_memory()[1] < early + 100_000
    tracemalloc.stop()


def test_looking_for_inputs_that_are_no_tars_loads_no_library_for_them() -> None:
    code = "import sys; from capcli.inputs import *; list(find_inputs(['a.jpg'], FolderRules()))"
    done = python(f"{code}; print(sorted({{'tarfile', 'gzip'}} & set(sys.modules)))")
    assert (done.text, done.errors) == ("[]\n", "")
