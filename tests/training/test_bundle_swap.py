"""A bundle takes another one's place: whatever fails or is killed in between, the old one or the new one is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from capcli.errors import OutputError
from capcli.training.bundle_swap import aside_of, put_back, swap_in
from tests.conftest import python


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An old folder, with a new one beside it."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text(name)
    (tmp_path / "old" / "more").write_text("x")
    (tmp_path / "old").rename(tmp_path / "bundle")
    return tmp_path / "bundle"


def content(folder: Path) -> str:
    return (folder / "content").read_text()


def rename_that(stop: Callable[[], None], *steps: int) -> Callable[[Path, Path], None]:
    """`os.rename`, but these of its calls, counted from 1, end otherwise."""
    calls = 0
    real = os.rename

    def rename(source: Path, place: Path) -> None:
        nonlocal calls
        calls += 1
        if calls in steps:
            stop()
        real(source, place)

    return rename


def refuse() -> None:
    raise PermissionError(13, "Permission denied")


def interrupt() -> None:
    raise KeyboardInterrupt


def test_the_old_folder_goes_when_the_new_one_is_in_its_place(target: Path) -> None:
    assert swap_in(target.with_name("new"), target) is None
    assert (content(target), [path.name for path in target.iterdir()]) == ("new", ["content"])
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_a_free_place_is_taken(target: Path) -> None:
    assert swap_in(target.with_name("new"), target.with_name("other")) is None
    assert (content(target.with_name("other")), content(target)) == ("new", "old")


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(("stop", "error"), [(refuse, OutputError), (interrupt, KeyboardInterrupt)])
def test_the_old_folder_is_put_back_whichever_step_fails(
    target: Path, monkeypatch: pytest.MonkeyPatch, step: int, stop: Callable[[], None], error: type[BaseException]
) -> None:
    monkeypatch.setattr(os, "rename", rename_that(stop, step))
    with pytest.raises(error):
        swap_in(target.with_name("new"), target)
    assert (content(target), content(target.with_name("new"))) == ("old", "new")
    assert not aside_of(target).exists()


def test_a_new_folder_that_has_gone_leaves_the_old_one(target: Path) -> None:
    """With nothing but the file system to make it fail."""
    new = target.with_name("new")
    shutil.rmtree(new)
    with pytest.raises(OutputError, match="bundle: cannot be written"):
        swap_in(new, target)
    assert content(target) == "old"


def test_a_file_where_the_old_folder_should_wait_leaves_it(target: Path) -> None:
    aside_of(target).write_text("somebody's")
    with pytest.raises(OutputError, match="bundle: cannot be written"):
        swap_in(target.with_name("new"), target)
    assert (content(target), aside_of(target).read_text()) == ("old", "somebody's")


def test_where_even_putting_back_fails_the_message_says_where_the_old_folder_is(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename_that(refuse, 2, 3))
        with pytest.raises(OutputError) as caught:
            swap_in(target.with_name("new"), target)
    assert str(aside_of(target)) in str(caught.value) and content(aside_of(target)) == "old"
    assert put_back(target) and content(target) == "old"


def test_an_old_folder_that_cannot_be_removed_is_told(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda path: refuse())
    assert swap_in(target.with_name("new"), target) == aside_of(target)
    assert (content(target), content(aside_of(target))) == ("new", "old")


@pytest.mark.parametrize(
    ("call", "number", "found"),
    [("rename", 1, "old"), ("rename", 2, "aside"), ("unlink", 2, "new")],
)
def test_a_kill_at_any_moment_leaves_the_old_folder_or_the_new_one(
    target: Path, call: str, number: int, found: str
) -> None:
    """A process that ends without another word before its first rename, between the two, or while it removes."""
    done = python(
        "import os, sys\n"
        "from pathlib import Path\n"
        "from capcli.training.bundle_swap import swap_in\n"
        "name, left = sys.argv[2], int(sys.argv[3])\n"
        "real = getattr(os, name)\n"
        "def counted(*arguments, **options):\n"
        "    global left\n"
        "    left -= 1\n"
        "    return real(*arguments, **options) if left else os._exit(9)\n"
        "setattr(os, name, counted)\n"
        "swap_in(Path(sys.argv[1]).with_name('new'), Path(sys.argv[1]))\n",
        str(target),
        call,
        str(number),
    )
    assert done.code == 9, done.errors
    assert content({"aside": aside_of(target)}.get(found, target)) == {"aside": "old"}.get(found, found)
    # The next one goes through, from the state that the kill left.
    assert put_back(target) == (found == "aside")
    newer = target.with_name("newer")
    newer.mkdir()
    (newer / "content").write_text("newer")
    assert swap_in(newer, target) is None
    assert content(target) == "newer" and not aside_of(target).exists()


def test_nothing_is_put_back_over_what_is_there(target: Path) -> None:
    shutil.copytree(target, aside_of(target))
    (target / "content").write_text("somebody's")
    assert not put_back(target)
    assert content(target) == "somebody's"
