"""The metadata.jsonl of an image folder: written, gone on with, and read as captions."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from capcli.errors import OutputError, UsageError
from capcli.outputs.affixes import Affixes
from capcli.outputs.image_folder import FILE, ImageFolder
from capcli.outputs.output_file import Existing, OutputFile
from capcli.outputs.path_keys import PathKeys
from capcli.outputs.records import read_rows
from capcli.outputs.rows import Row

DOG = Row("a.jpg", "A dog.", -0.5, None, confidence=0.5)
AFFIXES = Affixes("ohwx, ", " by me")


def lines(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_a_photo_is_named_from_the_files_own_folder_and_a_failed_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    form = ImageFolder(Path("set") / FILE, AFFIXES)
    for path in ("set/sub/é.jpg", f"{tmp_path}/set/sub/é.jpg", "./set//sub/é.jpg", "set/x/../sub/é.jpg"):
        line = form.record(replace(DOG, path=path)).decode()
        assert line == '{"file_name": "sub/é.jpg", "text": "ohwx, A dog. by me"}\n'
    assert form.record(replace(DOG, caption=None, error="is broken")) == b""
    # Its sidecar could not be written: it is tried again, and has no row until then.
    assert form.record(replace(DOG, error="a.txt exists")) == b""


def test_a_photo_that_the_file_cannot_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    (tmp_path / "link").symlink_to("set")
    form = ImageFolder(Path("set") / FILE)
    for path in ("a.jpg", "set/../a.jpg", "settle/a.jpg", "link/a.jpg", f"{tmp_path}/a.jpg"):
        assert form.why_not(path) == f"is not in set, the folder of set/{FILE}"
        with pytest.raises(OutputError, match="is not in set"):
            form.record(replace(DOG, path=path))
    assert (
        form.why_not(os.fsdecode(b"set/caf\xe9.jpg")) == f"its name is not UTF-8, and {FILE} cannot hold it; rename it"
    )
    assert ImageFolder(Path(FILE)).why_not("../a.jpg") == f"is not in ., the folder of {FILE}"
    assert [ImageFolder(Path("/", FILE)).why_not(path) for path in ("/a.jpg", "a.jpg")] == [None, None]


@pytest.mark.parametrize("affixes", [Affixes(), AFFIXES])
def test_a_file_cut_off_anywhere_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, affixes: Affixes
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("set") / FILE
    file.parent.mkdir()
    form = ImageFolder(file, affixes)
    rows = [replace(DOG, path=f"set/{name}") for name in ("a.jpg", "sub/b.jpg", "ü.jpg")]
    whole = b"".join(map(form.record, rows))
    for cut in range(len(whole) + 1):
        file.write_bytes(whole[:cut])
        with OutputFile(file, form, existing=Existing.RESUME) as output:
            for row in rows:
                given = str(tmp_path / row.path)
                if output.claim(given):
                    output.write([replace(row, path=given)])
                else:
                    (back,) = output.captions_of(given)
                    assert (back.caption, PathKeys().key(back.path)) == ("A dog.", PathKeys().key(row.path))
        assert file.read_bytes() == whole


def test_somebodys_own_file_is_gone_on_with_and_its_keys_stay(tmp_path: Path) -> None:
    file = tmp_path / FILE
    mine = b'{"file_name": "mine.jpg", "text": "My dog.", "aesthetic": 7}\n'
    file.write_bytes(mine)
    with OutputFile(file, ImageFolder(file), existing=Existing.RESUME) as output:
        assert not output.claim(str(tmp_path / "mine.jpg"))
        output.write([replace(DOG, path=str(tmp_path / "a.jpg"))])
    assert file.read_bytes() == mine + b'{"file_name": "a.jpg", "text": "A dog."}\n'


@pytest.mark.parametrize(
    "line",
    ['{"path": "a.jpg", "caption": "A dog."}', '{"file_name": 7, "text": "A dog."}', '{"file_name": "a.jpg"}', "[]"],
)
def test_other_lines_are_refused_and_stay(tmp_path: Path, line: str) -> None:
    file = tmp_path / FILE
    file.write_text(f"{line}\n")
    with pytest.raises(UsageError, match=rf"{FILE}: cannot be gone on with: line 1: "):
        OutputFile(file, ImageFolder(file), existing=Existing.RESUME)
    assert file.read_text() == f"{line}\n"


def test_it_is_read_as_rows_whose_paths_begin_with_its_folder(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_text('{"file_name": "sub/a.jpg", "text": "A dog."}\n{"file_name": "b.jpg", "text": null}\n')
    rows = list(read_rows(file, "jsonl"))
    assert rows == [
        Row(str(tmp_path / "sub" / "a.jpg"), "A dog.", None, None),
        Row(str(tmp_path / "b.jpg"), None, None, None),
    ]
