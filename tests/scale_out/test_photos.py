"""What a job is to caption, wherever it lies and whatever it is called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="needs the ray extra")

from capcli import ImageError, UsageError
from capcli.inputs.ages import Newer
from capcli.inputs.paths import FolderRules, InputItem, find_inputs
from capcli.scale_out.photos import (
    Photo,
    as_table,
    filesystem_of,
    images_of,
    is_url,
    local_photos,
    remote_photos,
)

NAMES = ["a.jpg", "two\nlines.jpg", "wh?t#.jpg", "100%41.jpg", "é 漢字.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="such names do not exist on Windows")
def test_rows_hold_the_path_as_typed_and_actors_read_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p").mkdir()
    for name in [*NAMES, "\udcff.jpg"]:
        (tmp_path / "p" / name).touch()
    photos = list(local_photos(find_inputs(["p", "./p/a.jpg", "gone.jpg"], FolderRules())))
    assert {photo.path for photo in photos} == {f"p/{name}" for name in NAMES} | {
        "p/\\udcff.jpg",
        "./p/a.jpg",
        "gone.jpg",
    }
    # What a link leads to is no matter of spelling.
    (tmp_path / "far" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "below")
    (tmp_path / "far" / "x.jpg").write_text("far")
    (over_link,) = images_of(as_table(local_photos([InputItem("link/../x.jpg")])), [])
    assert Path(over_link).read_text() == "far"
    images = images_of(as_table(photos), [])
    assert [os.path.relpath(image, tmp_path) for image in images] == [
        *(item.path for item in find_inputs(["p"], FolderRules())),
        "p/a.jpg",
        "gone.jpg",
    ]


def test_what_has_no_file_of_its_own_is_refused_or_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="standard input"):
        list(local_photos([InputItem("-", b"x")]))
    with pytest.raises(UsageError, match=r"lies in a tar.*read_webdataset"):
        list(local_photos([InputItem("x.tar/a.jpg", lambda: b"x")]))
    (photo,) = local_photos([InputItem("d", error="the folder cannot be read")])
    (image,) = images_of(as_table([photo]), [])
    with pytest.raises(ImageError, match="the folder cannot be read"):
        image()


@pytest.mark.skipif(os.name == "nt", reason="file URLs have drives there")
def test_of_what_lies_at_a_url_only_what_is_new_enough_is_listed(tmp_path: Path) -> None:
    for name, changed in (("old.jpg", 1_000_000_000), ("new.jpg", 1_700_000_000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, changed))
    url = tmp_path.as_uri()
    newer = Newer("2020-01-01")
    found = remote_photos(url, 0, *filesystem_of(url), FolderRules(), newer)
    assert [photo.path for photo in found] == [f"{url}/new.jpg"]
    one = f"{url}/old.jpg"
    assert list(remote_photos(one, 0, *filesystem_of(one), FolderRules(), newer)) == []
    assert newer.older == 2


def test_what_lies_at_a_url_is_listed_and_fetched(tmp_path: Path) -> None:
    for name in ["b/2.jpg", "b/1.png", "b/.hidden.jpg", "b/t/3.gif", "b/t/n.txt", "b/@eaDir/4.jpg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    url = f"file://{tmp_path}/b/"
    assert is_url(url) and is_url("s3://b/k") and not is_url("a/b") and not is_url("c:\\x")
    filesystem, root = filesystem_of(url)
    photos = list(remote_photos(url, 0, filesystem, root, FolderRules()))
    assert [photo.path for photo in photos] == [f"{url}{name}" for name in ("1.png", "2.jpg", "t/3.gif")]
    images = images_of(as_table([*photos, Photo("gone", b"/gone.jpg", 0)]), [filesystem])
    assert [image() for image in images[:3]] == [b"b/1.png", b"b/2.jpg", b"b/t/3.gif"]
    with pytest.raises(ImageError, match="no such file"):
        images[3]()
    (only,) = remote_photos(f"{url}2.jpg", 0, filesystem, f"{root}/2.jpg", FolderRules())
    assert only.path == f"{url}2.jpg"
    with pytest.raises(UsageError, match="cannot be listed"):
        list(remote_photos("file:///gone", 0, filesystem, "/gone", FolderRules()))
    with pytest.raises(UsageError, match="no place that can be read"):
        filesystem_of("nosuch://place/x")
