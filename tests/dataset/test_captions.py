"""Captions files as people have them, read with real images on disk."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from capcli.dataset.captions import CaptionedImage, DataReport, read_captions
from capcli.errors import DataError
from capcli.inputs.images import load_image
from capcli.inputs.paths import JUNK_FOLDERS, PHOTO_SUFFIXES, FolderRules, find_inputs, is_photo
from tests.conftest import python

Write = Callable[[str | bytes], Path]


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2)).save(path, "PNG")
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with a.jpg, b.jpg and sub/c.jpg."""
    folder = tmp_path / "images"
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        photo(folder / name)
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a captions file whose suffix says nothing."""

    def to_disk(content: str | bytes) -> Path:
        path = tmp_path / "captions.dat"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return to_disk


def told(items: list[CaptionedImage]) -> dict[str, list[str]]:
    return {item.name: list(item.captions) for item in items}


def refusal(images: Path, captions: Path | None) -> str:
    with pytest.raises(DataError) as caught:
        read_captions(images, captions)
    assert "\n" not in str(caught.value)
    return str(caught.value)


DOGS = {"a.jpg": ["A dog, running", "Dogs"], "b.jpg": ["A cat"]}

SAME_CAPTIONS = {
    "CSV": 'image,caption\na.jpg,"A dog, running"\na.jpg,Dogs\nb.jpg,A cat\n',
    "CSV all quoted": '"image","caption"\r\n"a.jpg","A dog, running"\r\n"a.jpg","Dogs"\r\n"b.jpg","A cat"\r\n',
    "CSV without quotes": "image,caption\na.jpg,A dog, running\na.jpg,Dogs\nb.jpg,A cat\n",
    "CSV with blanks after commas": 'image, caption\na.jpg, "A dog, running"\na.jpg, Dogs\nb.jpg, A cat\n',
    "CSV with other headings": 'id,Sentence,File Name\n1,"A dog, running",a.jpg\n2,Dogs,a.jpg\n3,A cat,b.jpg\n',
    "a spreadsheet": "\ufeffimage;caption;;\r\na.jpg;A dog, running;;\r\na.jpg;Dogs;;\r\nb.jpg;A cat;;\r\n;;;\r\n",
    "CSV that names its separator": "sep=;\nimage;caption\na.jpg;A dog, running\na.jpg;Dogs\nb.jpg;A cat\n",
    "TSV": "caption\timage\nA dog, running\ta.jpg\nDogs\ta.jpg\nA cat\tb.jpg\n",
    "Kaggle": "image_name| comment_number| comment\na.jpg| 0| A dog, running\na.jpg| 1| Dogs\nb.jpg| 0| A cat\n",
    "Flickr tokens": "a.jpg#0\tA dog, running\na.jpg#1\tDogs\nb.jpg#0\tA cat\n",
    "Flickr tokens without numbers": "a.jpg\tA dog, running\na.jpg\tDogs\nb.jpg\tA cat\n",
    "COCO": json.dumps(
        {
            "info": {"year": 2014},
            "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 3, "file_name": "b.jpg"}],
            "annotations": [
                {"id": 1, "image_id": 7, "caption": "A dog, running"},
                {"id": 2, "image_id": 3, "caption": "A cat"},
                {"id": 3, "image_id": 7, "caption": "Dogs\n"},
            ],
        }
    ),
    "Karpathy": json.dumps(
        {
            "dataset": "flickr8k",
            "images": [
                {"filename": "a.jpg", "sentences": [{"raw": "A dog, running"}, {"raw": "Dogs"}], "split": "train"},
                {"filename": "b.jpg", "sentences": [{"raw": "A cat", "tokens": ["a", "cat"]}], "split": "test"},
            ],
        },
        indent=1,
    ),
    "a JSON list": json.dumps(
        [
            {"image": "a.jpg", "caption": "A dog, running"},
            {"image": "a.jpg", "caption": "Dogs"},
            {"image": "b.jpg", "caption": ["A cat"]},
        ]
    ),
    "JSON Lines": '{"file_name": "a.jpg", "text": ["A dog, running", "Dogs"]}\n\n'
    '{"file_name": "b.jpg", "text": "A cat"}',
    "capcli's CSV": 'path,caption,score,error\r\nimages/a.jpg,"A dog, running",-0.5,\r\nimages/a.jpg,Dogs,-1.0,\r\n'
    "images/b.jpg,A cat,,\r\n",
}


@pytest.mark.parametrize("text", SAME_CAPTIONS.values(), ids=SAME_CAPTIONS)
def test_every_format_says_the_same(images: Path, write: Write, text: str) -> None:
    items, report = read_captions(images, write(text))
    assert [list(item.captions) for item in items] == list(DOGS.values())
    assert [item.path for item in items] == [images / "a.jpg", images / "b.jpg"]
    assert [Path(item.name).name for item in items] == list(DOGS)
    assert (report.images, report.captions, report.lines()) == (2, 3, [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks_are_heeded(images: Path, write: Write, encoding: str) -> None:
    items, report = read_captions(images, write("image,caption\na.jpg,Ein Hund läuft\n".encode(encoding)))
    assert told(items) == {"a.jpg": ["Ein Hund läuft"]}
    assert report.lines() == []


def test_text_files_lie_beside_their_images(images: Path) -> None:
    (images / "a.txt").write_text("A dog\n\n  Dogs  run \n")
    (images / "sub" / "c.txt").write_text("A cow")
    (images / "readme.txt").write_text("not a caption")
    photo(images / ".thumbnails" / "a.jpg")
    photo(images / "@eaDir" / "a.jpg")
    for captions in (None, images):
        items, report = read_captions(images, captions)
        assert told(items) == {"a.jpg": ["A dog", "Dogs run"], "sub/c.jpg": ["A cow"]}
        assert report.lines() == ["1 image has no caption, left out: b.jpg"]


def test_text_files_may_lie_in_a_folder_of_their_own(images: Path, tmp_path: Path) -> None:
    (tmp_path / "texts" / "sub").mkdir(parents=True)
    (tmp_path / "texts" / "sub" / "c.txt").write_text("A cow")
    items, _ = read_captions(images, tmp_path / "texts")
    assert items == [CaptionedImage(images / "sub/c.jpg", "sub/c.jpg", ("A cow",))]


def test_a_text_file_that_is_no_text_is_counted(images: Path) -> None:
    (images / "a.txt").write_bytes(b"\0\1")
    (images / "b.txt").write_text("A cat")
    items, report = read_captions(images)
    assert told(items) == {"b.jpg": ["A cat"]}
    assert report.unreadable == ("a.txt",)
    assert report.lines()[-1] == "1 file cannot be read, left out: a.txt"


def test_metadata_in_the_folder_of_images_needs_no_naming(images: Path) -> None:
    (images / "metadata.jsonl").write_text('{"file_name": "sub/c.jpg", "text": "A cow"}\n')
    assert told(read_captions(images)[0]) == {"sub/c.jpg": ["A cow"]}


def test_split_fields_are_read_with_their_other_names(images: Path, write: Write) -> None:
    sentences = [{"raw": "x"}]
    records = [
        {"filename": "a.jpg", "sentences": sentences, "split": "restval"},
        {"filename": "b.jpg", "sentences": sentences, "split": "val"},
        {"filepath": "sub", "filename": "c.jpg", "sentences": sentences, "split": "test"},
    ]
    items, _ = read_captions(images, write(json.dumps({"images": records})))
    assert {item.name: item.split for item in items} == {"a.jpg": "train", "b.jpg": "val", "sub/c.jpg": "test"}
    items, _ = read_captions(images, write("split,image,caption\nDev,a.jpg,x\n,b.jpg,x\n"))
    assert [item.split for item in items] == ["val", None]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    captions=st.lists(TEXT | st.text("ab \",;|\t\r\n'#", max_size=12), min_size=1, max_size=6),
    separator=st.sampled_from(",;\t"),
)
def test_what_a_csv_writer_wrote_is_read_back(images: Path, write: Write, captions: list[str], separator: str) -> None:
    buffer = io.StringIO(newline="")
    rows = csv.writer(buffer, delimiter=separator)
    rows.writerows([["image", "caption"], *(["a.jpg", caption] for caption in captions), ["b.jpg", "last"]])
    items, report = read_captions(images, write(buffer.getvalue()))
    kept = [cleaned for caption in captions if (cleaned := " ".join(caption.split()))]
    assert told(items) == {**({"a.jpg": kept} if kept else {}), "b.jpg": ["last"]}
    assert len(report.empty_captions) == len(captions) - len(kept)


def test_equal_captions_and_their_order_are_kept(images: Path, write: Write) -> None:
    text = "image,caption\nb.jpg,One  dog\na.jpg,Two\nb.jpg,One\u00a0dog\nsub/../b.jpg,Zero\n"
    assert told(read_captions(images, write(text))[0]) == {"b.jpg": ["One dog", "One dog", "Zero"], "a.jpg": ["Two"]}


def test_what_is_left_out_is_counted_and_named(images: Path, write: Write) -> None:
    missing = "".join(f"gone{n}.jpg,x\n" for n in range(7))
    text = (
        f"image,caption,note\na.jpg,A dog,\n{missing}a.jpg, ,\nb.jpg,,\nsub/c.jpg\na.jpg,too,many,cells\n,nameless,\n"
    )
    items, report = read_captions(images, write(text))
    assert told(items) == {"a.jpg": ["A dog"]}
    assert len(report.missing_images) == 7
    assert report.lines() == [
        "7 images are not found, left out: gone0.jpg, gone1.jpg, gone2.jpg, gone3.jpg, gone4.jpg, ...",
        "1 image has no caption, left out: b.jpg",
        "2 captions are empty, left out: a.jpg, b.jpg",
        "3 rows are not understood, left out: line 12, line 13, line 14",
    ]


def test_odd_names_stay_on_one_line(images: Path, write: Write) -> None:
    _, report = read_captions(images, write('image,caption\na.jpg,A dog\n"x\n.jpg",x\ny.jpg,x\n'))
    assert report.lines() == ["2 images are not found, left out: x\\n.jpg, y.jpg"]
    assert DataReport().lines() == []


def test_a_folder_shows_training_the_photos_that_it_shows_captioning(tmp_path: Path) -> None:
    suffixes = sorted(PHOTO_SUFFIXES)
    for number, suffix in enumerate(suffixes):
        photo(tmp_path / f"{number}{suffix.upper()}")
        (tmp_path / f"{number}.txt").write_text("A dog")
        # A name without its suffix finds them all too.
        assert is_photo(f"x{suffix}")
    for junk in JUNK_FOLDERS:
        photo(tmp_path / junk.upper() / "thumbnail.jpg")
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    items, report = read_captions(tmp_path)
    found = find_inputs([str(tmp_path)], FolderRules())
    assert {item.path for item in items} == {Path(each.path) for each in found}
    assert (len(items), report.lines()) == (len(suffixes), [])
    assert {".mpo", ".dib"} <= set(suffixes)


@pytest.mark.parametrize(("suffix", "form"), [(".mpo", "MPO"), (".dib", "BMP")])
def test_photos_of_the_rarer_suffixes_are_found_and_read(tmp_path: Path, suffix: str, form: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (8, 6), (200, 30, 30)).save(path, form)
    (tmp_path / "a.txt").write_text("Red")
    (item,) = read_captions(tmp_path)[0]
    assert load_image(item.path.read_bytes(), size=(4, 4)).shape == (4, 4, 3)


def test_a_line_number_is_that_of_the_rows_first_line(images: Path, write: Write) -> None:
    _, report = read_captions(images, write('image,caption\n\na.jpg,"two\nlines"\nb.jpg\nb.jpg,x\n'))
    assert report.skipped_rows == ("line 5",)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_of_a_reviewed_file_only_what_somebody_stands_for_is_read(form: str, images: Path, write: Write) -> None:
    rows = [
        ("images/a.jpg", "A dog", "accepted", ""),
        ("images/a.jpg", "Dogs", "rejected", ""),
        ("images/b.jpg", "A cat on a mat", " Edited ", ""),
        ("images/sub/c.jpg", "A horse", "", ""),
        # Its photo is gone; who rejects it does not want to hear of that.
        ("gone.jpg", "A tree", "rejected", ""),
        ("broken.jpg", "", "", "is empty"),
    ]
    if form == "csv":
        text = "path,caption,review,error\r\n" + "".join(",".join(row) + "\r\n" for row in rows)
    else:
        text = "".join(
            json.dumps(dict(zip(("path", "caption", "review", "error"), row, strict=True))) + "\n" for row in rows
        )
    items, report = read_captions(images, write(text))
    assert told(items) == {"images/a.jpg": ["A dog"], "images/b.jpg": ["A cat on a mat"]}
    assert report.lines() == [
        "1 row holds an error and no caption, left out: broken.jpg",
        "2 captions were rejected in review, left out: images/a.jpg, gone.jpg",
        "1 caption is not reviewed yet, left out: images/sub/c.jpg",
    ]


def test_a_review_that_took_nothing_or_says_something_else_is_refused(images: Path, write: Write) -> None:
    head = "path,caption,review\n"
    message = refusal(images, write(head + "images/a.jpg,A dog,rejected\nimages/b.jpg,A cat,\n"))
    assert "1 caption was rejected in review, left out: images/a.jpg; 1 caption is not reviewed yet" in message
    message = refusal(images, write(head + "images/a.jpg,A dog,accepted\nimages/b.jpg,A cat,fine\n"))
    assert message.endswith("line 3: review is 'fine'; it must be accepted, edited, rejected or empty")


def test_capcli_rows_with_an_error_are_counted_apart(
    images: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images.parent)
    text = "path,rank,caption,score,error\nimages/a.jpg,1,A dog,-1,\nimages/a.jpg,2,Dogs,-2,\nimages/b.jpg,,,,broken\n"
    items, report = read_captions(images, write(text))
    assert told(items) == {"images/a.jpg": ["A dog", "Dogs"]}
    assert report.lines() == ["1 row holds an error and no caption, left out: images/b.jpg"]
    lines = (
        '{"path": "images/a.jpg", "caption": "A dog", "error": null}\n{"path": "b", "caption": null, "error": "e"}\n'
    )
    items, report = read_captions(images, write(lines))
    assert (told(items), report.failed_rows) == ({"images/a.jpg": ["A dog"]}, ("b",))


def test_a_failed_row_that_a_person_captioned_counts(images: Path, write: Write) -> None:
    items, report = read_captions(images, write("path,caption,score,error\nb.jpg,A cat,,broken\n"))
    assert (told(items), report.lines()) == ({"b.jpg": ["A cat"]}, [])


def test_capcli_paths_are_the_callers_first(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    photo(here / "a.jpg")
    photo(tmp_path / "list" / "d.jpg")
    file = tmp_path / "list" / "out.csv"
    file.write_text(f"path,caption\na.jpg,mine\nb.jpg,theirs\nd.jpg,beside\n{images / 'a.jpg'},absolute\n")
    monkeypatch.chdir(here)
    items, report = read_captions(images, file)
    assert [item.path for item in items] == [Path("a.jpg"), images / "b.jpg", file.parent / "d.jpg", images / "a.jpg"]
    file.write_text("image,caption\na.jpg,not mine\n")
    assert read_captions(images, file)[0][0].path == images / "a.jpg"
    assert report.lines() == []


def test_path_bytes_that_are_not_utf8_find_their_file(images: Path, write: Write) -> None:
    photo(Path(os.fsdecode(os.fsencode(images) + b"/caf\xe9 1.jpg")))
    items, report = read_captions(images, write(b"path,caption\ncaf\xe9 1.jpg,Un caf\xc3\xa9\n"))
    assert os.fsencode(items[0].path) == os.fsencode(images) + b"/caf\xe9 1.jpg"
    assert items[0].captions == ("Un café",)
    assert report.lines() == []


def test_line_ends_in_a_path_are_part_of_it(images: Path, write: Write) -> None:
    photo(images / "odd\r\n, name\r.jpg")
    items, _ = read_captions(images, write('path,caption,score,error\r\n"odd\r\n, name\r.jpg",A dog,-1,\r\n'))
    assert items[0].path == images / "odd\r\n, name\r.jpg"


def test_bars_between_columns_leave_quotes_as_they_are(images: Path, write: Write) -> None:
    text = 'image_name| comment_number| comment\na.jpg| 0| "Help," says a sign\na.jpg| 1|"a\n'
    assert told(read_captions(images, write(text))[0]) == {"a.jpg": ['"Help," says a sign', '"a']}


def test_captions_that_are_not_utf8_are_read_as_windows_1252(images: Path, write: Write) -> None:
    photo(images / "é.jpg")
    items, report = read_captions(images, write("image,caption\né.jpg,“café” – 5 €\na.jpg,ok\n".encode("cp1252")))
    assert told(items) == {"é.jpg": ["“café” – 5 €"], "a.jpg": ["ok"]}
    assert report.lines() == ["1 caption is not UTF-8, read as Windows-1252: é.jpg"]


def test_captions_can_always_be_written_as_utf8(images: Path, write: Write) -> None:
    items, _ = read_captions(images, write(r'{"file_name": "a.jpg", "text": "half \ud83d a \udce9 pair"}'))
    assert items[0].captions == ("half \ufffd a é pair",)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("c.jpg", "sub/c.jpg"),
        ("sub/c", "sub/c.jpg"),
        ("a", "a.jpg"),
        ("A.JPG", "a.jpg"),
        ("SUB/C.jpg", "sub/c.jpg"),
        ("sub\\c.jpg", "sub/c.jpg"),
        (" a.jpg ", "a.jpg"),
        ("images/a.jpg", "a.jpg"),
        ("/kaggle/input/sub/c.jpg", "sub/c.jpg"),
        ("/kaggle/input/a.jpg", "a.jpg"),
        ("v1.2", "v1.2.png"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
    ],
)
def test_a_name_finds_the_one_image_that_fits(images: Path, write: Write, name: str, file: str) -> None:
    photo(images / "v1.2.png")
    photo(images / "café.jpg")
    items, _ = read_captions(images, write(json.dumps({"image": name, "caption": "x"})))
    assert items[0].path == images / file


@pytest.mark.parametrize("name", ["a.png", "sub/a.jpg", "other/c.jpg", "..", "sub", "a.jpg\0", "\ud83d"])
def test_a_name_finds_no_image_that_does_not_fit(images: Path, write: Write, name: str) -> None:
    photo(images / "x" / "y.jpg")
    _, report = read_captions(
        images, write(json.dumps([{"image": name, "caption": "x"}, {"image": "a.jpg", "caption": "x"}]))
    )
    assert len(report.missing_images + report.ambiguous_images) == 1


def test_names_that_fit_several_images_are_ambiguous(images: Path, write: Write) -> None:
    for name in ("d.jpg", "d.png", "x/e.jpg", "y/e.jpg", "x/a.jpg", "x/b.jpg", "F.jpg", "f.jpg", "x/g.jpg", "x/G.jpg"):
        photo(images / name)
    items, report = read_captions(
        images, write("image,caption\nd,1\ne.jpg,2\na.jpg,3\nx/e.jpg,4\nF.JPG,5\nf.jpg,6\ng.jpg,7\nB.JPG,8\n")
    )
    assert told(items) == {"a.jpg": ["3"], "x/e.jpg": ["4"], "f.jpg": ["6"], "g.jpg": ["7"], "B.JPG": ["8"]}
    assert [items[n].path for n in (0, 3, 4)] == [images / "a.jpg", images / "x/g.jpg", images / "b.jpg"]
    assert report.lines() == ["3 image names are ambiguous, left out: d, e.jpg, F.JPG"]


def test_a_missing_image_does_not_borrow_its_namesake(images: Path, write: Write) -> None:
    items, report = read_captions(images, write("image,caption\ntrain/a.jpg,1\nval/a.jpg,2\ntrain/b.jpg,3\n"))
    assert told(items) == {"train/b.jpg": ["3"]}
    assert report.ambiguous_images == ("train/a.jpg", "val/a.jpg")


def test_the_name_of_the_folder_of_images_tells_namesakes_apart(tmp_path: Path) -> None:
    photo(tmp_path / "train" / "a.jpg")
    file = tmp_path / "lists" / "captions.csv"
    file.parent.mkdir()
    file.write_text("image,caption\ntrain/a.jpg,1\nval/a.jpg,2\na.jpg,3\n")
    items, report = read_captions(tmp_path / "train", file)
    assert told(items) == {"train/a.jpg": ["1", "3"]}
    assert report.ambiguous_images == ("val/a.jpg",)


def test_linked_folders_are_searched_and_loops_end(images: Path, tmp_path: Path, write: Write) -> None:
    photo(tmp_path / "elsewhere" / "z.jpg")
    (images / "linked").symlink_to(tmp_path / "elsewhere")
    (images / "sub" / "loop").symlink_to(images)
    (images / "gone.jpg").symlink_to(tmp_path / "nowhere")
    items, report = read_captions(images, write("image,caption\nz.jpg,x\nc.jpg,x\ngone.jpg,x\n"))
    assert [item.path for item in items] == [images / "linked/z.jpg", images / "sub/c.jpg"]
    assert report.missing_images == ("gone.jpg",)


def test_images_that_are_not_found_keep_their_split(images: Path, write: Write) -> None:
    photo(images / "x" / "d.jpg")
    photo(images / "y" / "d.jpg")
    text = "image,caption,split\na.jpg,x,train\ngone.jpg,x,\ngone.jpg,y,dev\nd.jpg,x,test\nlost.jpg,x,\n"
    _, report = read_captions(images, write(text))
    assert report.missing_images == ("gone.jpg", "lost.jpg")
    assert report.ambiguous_images == ("d.jpg",)
    assert report.unfound_splits == {"gone.jpg": "val", "d.jpg": "test"}


BAD_FILES = {
    "": "{file}: the file is empty",
    "image,caption\n": "{file}: holds no captions",
    "image,caption\nx.jpg,1\nx.jpg,2\ny.jpg,3\n": "{file}: none of its 2 images is in {images}; the first is x.jpg",
    "image,caption\na.jpg,\nx.jpg,1\n": "{file}: no image with a caption is left: "
    "1 image is not found, left out: x.jpg; 1 image has no caption, left out: a.jpg; "
    "1 caption is empty, left out: a.jpg",
    "\nwhat,ever\na.jpg,x\n": "{file}: line 2: not understood; captions are CSV with a header such as image,caption, "
    "Flickr lines (name.jpg#0, a tab, the caption), COCO or Karpathy JSON, or JSON Lines",
    'image,caption\na.jpg,"A "dog" runs"\n': "{file}: line 2: not proper CSV, a quote is open or not doubled "
    '(\',\' expected after \'"\'); write a caption with quotes as "say ""hello"""',
    'image,caption\na.jpg,x\nb.jpg,"x\na.jpg,x\n': "{file}: line 3: not proper CSV, a quote is open or not doubled "
    '(unexpected end of data); write a caption with quotes as "say ""hello"""',
    "image,caption,split\na.jpg,x,train\nb.jpg,x,most\n": "{file}: line 3: the split 'most' is not train, val or test",
    "image,caption,split\na.jpg,x,train\na.jpg,x,val\n": "{file}: a.jpg is in two splits, train and val",
    "{": "{file}: line 1: not JSON (Expecting property name enclosed in double quotes)",
    '{"images": [\n{"id": 1 "x"}]}': "{file}: line 2: not JSON (Expecting ',' delimiter)",
    '{"file_name": "a.jpg", "text": "x"}\n{"file_name": "b.jpg", "te': "{file}: line 2: not JSON (Unterminated string "
    "starting at)",
    '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "bbox": []}]}': "{file}: COCO "
    "annotations without captions of its images; the file wanted is captions_*.json",
    '{"name": "x"}\n{"name": "y"}\n': "{file}: line 1: no image name and captions here (file_name, text)",
    "[1, 2]": "{file}: entry 1: no image name and captions here (file_name, text)",
}


@pytest.mark.parametrize("text", BAD_FILES, ids=[text[:30] for text in BAD_FILES])
def test_a_file_that_cannot_be_used_is_refused_in_one_line(images: Path, write: Write, text: str) -> None:
    file = write(text)
    assert refusal(images, file) == BAD_FILES[text].replace("{file}", str(file)).replace("{images}", str(images))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.sampled_from(list(SAME_CAPTIONS.values())), cut=st.data(), junk=st.binary(max_size=4))
def test_a_damaged_file_is_read_or_refused(
    images: Path, write: Write, text: str, cut: st.DataObject, junk: bytes
) -> None:
    content = text.encode()
    start, end = sorted(cut.draw(st.integers(0, len(content))) for _ in range(2))
    try:
        items, report = read_captions(images, write(content[:start] + junk + content[end:]))
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert items
        assert not any("\n" in line for line in report.lines())


def test_paths_that_cannot_be_used_are_refused_in_one_line(images: Path, tmp_path: Path, write: Write) -> None:
    captions = write("image,caption\na.jpg,x\n")
    gone = tmp_path / "gone"
    assert refusal(gone, captions) == f"{gone}: no such folder of images"
    assert refusal(captions, captions) == f"{captions}: not a folder of images"
    assert refusal(images, gone) == f"{gone}: cannot be read (No such file or directory)"
    long = tmp_path / ("x" * 300)
    assert refusal(long, captions) == f"{long}: no such folder of images"
    assert refusal(images, long) == f"{long}: cannot be read (File name too long)"
    assert refusal(images, images / "a.jpg") == f"{images / 'a.jpg'}: a binary file, not text"
    assert refusal(images, None) == (
        f"{images}: no image has its captions in a text file beside it (NAME.txt); give a captions file"
    )
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty", None) == f"{tmp_path / 'empty'}: no image in this folder"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000, f"[{'1' * 5000}]", f'{{"a": 1}}\n[{"1" * 5000}]'])
def test_json_that_breaks_the_parser_is_refused(images: Path, write: Write, text: str) -> None:
    assert "not " in refusal(images, write(text))


def test_some_broken_json_records_do_not_spoil_the_rest(images: Path, write: Write) -> None:
    text = '{"file_name": "a.jpg", "text": "x"}\n{"file_name": "b.jpg", "text": 5}\n{"text": "x"}\n7\n'
    items, report = read_captions(images, write(text))
    assert (told(items), report.skipped_rows) == ({"a.jpg": ["x"]}, ("line 2", "line 3", "line 4"))


def test_coco_annotations_of_no_image_are_counted(images: Path, write: Write) -> None:
    notes = [{"image_id": 1, "caption": "x"}, {"image_id": 2, "caption": "x"}, {"image_id": [], "caption": "x"}, 5]
    names = [{"id": 1, "file_name": "a.jpg"}, {"id": 5, "file_name": "b.jpg"}]
    items, report = read_captions(images, write(json.dumps({"images": names, "annotations": notes})))
    assert told(items) == {"a.jpg": ["x"]}
    assert report.skipped_rows == ("annotation 2", "annotation 3", "annotation 4")
    assert report.images_without_captions == ("b.jpg",)


def test_reading_captions_needs_no_torch() -> None:
    done = python("import sys, capcli.dataset.captions, capcli.dataset.splits; print('torch' in sys.modules)")
    assert done.text.strip() == "False"
