"""Inputs that are new enough: by the time of their file, or of a tar's member."""

from __future__ import annotations

import io
import os
import tarfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from capcli.errors import UsageError
from capcli.inputs.ages import Newer
from capcli.inputs.paths import FolderRules, InputItem, find_inputs


@pytest.mark.parametrize(("text", "seconds"), [("12h", 43200), ("7d", 604800), ("2W", 1209600), ("0d", 0)])
def test_how_long_ago_is_counted_from_now(text: str, seconds: int) -> None:
    assert Newer(text).since == pytest.approx(time.time() - seconds, abs=5)


def test_dates_are_of_this_machine_s_time_zone_unless_they_name_one() -> None:
    assert Newer("2026-11-20").since == datetime(2026, 11, 20).timestamp()
    assert Newer("2026-11-20T08:30").since == datetime(2026, 11, 20, 8, 30).timestamp()
    zone = timezone(timedelta(hours=2))
    assert Newer("2026-11-20T08:30+02:00").since == datetime(2026, 11, 20, 8, 30, tzinfo=zone).timestamp()


@pytest.mark.parametrize("text", ["", "yesterday", "7", "d", "-7d", "7 months", "20.11.2026", "2026-13-01", "9999999d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="give a date or time") as caught:
        Newer(text)
    assert repr(text) in str(caught.value)


def test_older_photos_are_left_out_and_counted_however_they_are_named(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jpg").touch()
        os.utime(tmp_path / f"{number}.jpg", (0, time.time() - number * 86400 - 60))
    newer = Newer("2d")
    items = [*find_inputs([str(tmp_path)], FolderRules()), InputItem(str(tmp_path / "3.jpg"))]
    assert [Path(item.path).name for item in newer.of(items)] == ["0.jpg", "1.jpg"]
    assert newer.older == 3
    # What has no time, or is not there, has something else to say.
    others = [
        InputItem("missing.jpg"),
        InputItem("-", b"bytes"),
        InputItem("folder", error="the folder cannot be read"),
        InputItem("x.tar", finished=True),
    ]
    assert list(newer.of(others)) == others and newer.older == 3
    assert newer.takes(newer.since) and not newer.takes(newer.since - 1e-3)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_photo_in_a_tar_has_the_time_that_the_tar_has_of_it(mode: str, tmp_path: Path) -> None:
    name = tmp_path / ("photos.tar" if mode == "w" else "photos.tar.gz")
    with tarfile.open(name, mode) as tar:  # type: ignore[call-overload]
        for number in range(3):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size, member.mtime = 2, int(time.time()) - number * 86400 - 60
            tar.addfile(member, io.BytesIO(b"x%d" % number))
    newer = Newer("2d")
    read = {
        Path(item.path).name: item.content()
        for item in newer.of(find_inputs([str(name)], FolderRules()))
        if callable(item.content)
    }
    assert (read, newer.older) == ({"0.jpg": b"x0", "1.jpg": b"x1"}, 1)
