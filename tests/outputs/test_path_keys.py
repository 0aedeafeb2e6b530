"""What a photo is known by: one key for all spellings of its path, and another for every other path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capcli.outputs.path_keys import PathKeys
from capcli.outputs.path_table import KEY_BYTES

PART = (
    st.binary(min_size=1, max_size=4)
    .filter(lambda part: not set(part) & set(b"\0/") and part not in (b".", b".."))
    .map(os.fsdecode)
)
PARTS = st.lists(PART, min_size=1, max_size=4)
posix = pytest.mark.skipif(os.name == "nt", reason="names of POSIX")


@posix
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=PARTS, other=PARTS, needless=st.lists(st.sampled_from(["", ".", "./.", "/"]), min_size=4, max_size=4))
def test_spellings_of_a_path_are_one_and_paths_are_many(
    parts: list[str], other: list[str], needless: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = PathKeys()
    plain = "/".join(parts)
    odd = "./" + "/".join(f"{more}/{part}" if more else part for more, part in zip(needless, parts, strict=False))
    # A path that begins with a slash is another one.
    assert keys.key(odd) == keys.key(plain) == keys.key(f"{tmp_path}/{plain}") == PathKeys().key(plain)
    assert (keys.key("/".join(other)) == keys.key(plain)) == (other == parts)
    assert keys.key(f"x/{plain}") != keys.key(plain) and len(keys.key(plain)) == KEY_BYTES


@posix
def test_the_folder_that_a_shell_came_by_is_the_one_it_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    here = PathKeys().key("a.jpg")
    monkeypatch.setenv("PWD", str(tmp_path / "link"))
    keys = PathKeys()
    assert keys.key(f"{tmp_path}/link/a.jpg") == keys.key(f"{tmp_path}/real/a.jpg") == keys.key("a.jpg") == here
    # Its name is the beginning of another's.
    assert keys.key(f"{tmp_path}/linked/a.jpg") != keys.key(f"{tmp_path}/realed/a.jpg")
    monkeypatch.setenv("PWD", str(tmp_path / "elsewhere"))
    assert PathKeys().key("a.jpg") == here


@posix
def test_what_lies_above_a_link_is_for_the_disk_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/away")
    monkeypatch.chdir(tmp_path)
    keys = PathKeys()
    assert keys.key("link/../a.jpg") == keys.key("far/a.jpg") != keys.key("a.jpg")
    assert keys.key("a\0b/../c") != keys.key("c")
