"""Photos read in processes of their own: what crashes, hangs or is killed there costs its own photo, and no other."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from capcli import CapcliError, Captioner, ImageError
from capcli.inputs.images import MAX_PIXELS, load_image
from capcli.inputs.loaders import Loaders
from tests.conftest import python
from tests.harmful import harmful_decoder, photo_saying
from tests.photos import write_photo

SIZE = (64, 48)


@pytest.fixture(scope="module")
def reading() -> Iterator[Loaders]:
    with Loaders(1) as loaders:
        yield loaders


@pytest.fixture
def harmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started have a JPEG decoder that does what a photo's comment says."""
    monkeypatch.setenv("PYTHONPATH", str(harmful_decoder(tmp_path / "harmful")))


def read(loaders: Loaders, image: str | Path | bytes) -> np.ndarray:
    """Reads an image, or fails: a test that waits for ever tells nobody anything."""
    found: list[np.ndarray | BaseException] = []

    def load() -> None:
        try:
            found.append(loaders.load(image, size=SIZE, max_pixels=MAX_PIXELS))
        except BaseException as error:
            found.append(error)

    reader = threading.Thread(target=load, daemon=True)
    reader.start()
    reader.join(60)
    assert found, "the image is still being read"
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def running(process: int) -> bool:
    """Whether it is there, be it as a zombie."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def children() -> set[int]:
    """Of this process."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        # A thread may end in the meantime.
        with contextlib.suppress(OSError):
            found |= {int(child) for child in (task / "children").read_text().split()}
    return found


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")


@pytest.mark.parametrize("kind", ["path", "relative path", "bytes"])
def test_pixels_are_those_of_this_process(reading: Loaders, tmp_path: Path, kind: str) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png" if sys.platform == "linux" else b"cafe.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 4), np.uint8)).save(path)
    kinds: dict[str, str | Path | bytes] = {
        "path": path,
        "relative path": os.path.relpath(path),
        "bytes": path.read_bytes(),
    }
    image = kinds[kind]
    pixels = read(reading, image)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, load_image(image, size=SIZE))


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\xff\xd8\xff\xe0cut", b"%PDF-1.4"])
def test_errors_are_those_of_this_process(reading: Loaders, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    images: list[Path | bytes] = [tmp_path / "x.jpg", content, tmp_path / "missing.jpg", tmp_path]
    for image in images:
        with pytest.raises(ImageError) as here:
            load_image(image, size=SIZE)
        with pytest.raises(ImageError) as there:
            read(reading, image)
        assert str(there.value) == str(here.value)


def test_a_captioner_s_limit_of_pixels_reaches_them(reading: Loaders, captioner: Captioner, tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.png", "coffee")
    assert captioner.load(path, loaders=reading).shape == (64, 64, 3)
    with pytest.raises(ImageError, match=r"is too large: .*, more than 100;"):
        captioner.load(path, max_pixels=100, loaders=reading)


def test_a_limit_of_pixels_holds(reading: Loaders, tmp_path: Path) -> None:
    photo = photo_saying("nothing", tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="is too large"):
        reading.load(photo, size=SIZE, max_pixels=100)


@pytest.mark.skipif(os.name == "nt", reason="exit codes of POSIX")
@pytest.mark.parametrize(
    ("comment", "reason"),
    [
        ("crash", r"its decoder crashed \(SIGSEGV\)"),
        ("exit", r"its decoder crashed \(exit code 0\)"),
        ("killed", "the process that read it was killed, perhaps for want of memory"),
        ("lie", "its decoder crashed"),
    ],
)
@pytest.mark.usefixtures("harmed")
def test_a_photo_that_ends_its_process_has_an_error_and_the_next_is_read(
    tmp_path: Path, comment: str, reason: str
) -> None:
    with Loaders(1) as loaders:
        with pytest.raises(ImageError, match=reason):
            read(loaders, photo_saying(comment, tmp_path / "bad.jpg"))
        assert read(loaders, photo_saying("nothing", tmp_path / "good.jpg")).shape == (48, 64, 3)


@pytest.mark.usefixtures("harmed")
def test_a_photo_that_ends_its_process_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashes = tmp_path / "crashes"
    monkeypatch.setenv("CRASHES", str(crashes))
    with Loaders(1) as loaders, pytest.raises(ImageError, match="its decoder crashed"):
        read(loaders, photo_saying("told crash", tmp_path / "bad.jpg"))
    assert crashes.read_bytes() == b"x"


@pytest.mark.usefixtures("harmed")
def test_a_photo_that_never_ends_is_given_up(tmp_path: Path) -> None:
    with Loaders(1, longest_s=1) as loaders:
        with pytest.raises(ImageError, match="is given up: reading it took longer than 1 s"):
            read(loaders, photo_saying("hang", tmp_path / "bad.jpg"))
        assert read(loaders, photo_saying("nothing", tmp_path / "good.jpg")).shape == (48, 64, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.usefixtures("harmed")
def test_a_photo_that_asks_for_more_memory_than_pictures_take_does_not_fit(tmp_path: Path) -> None:
    with Loaders(1) as loaders, pytest.raises(ImageError, match="does not fit into memory"):
        loaders.load(photo_saying("memory", tmp_path / "bad.jpg"), size=SIZE, max_pixels=1_000_000)


@pytest.mark.usefixtures("harmed")
def test_what_a_decoder_prints_is_no_answer(tmp_path: Path) -> None:
    with Loaders(1) as loaders:
        photo = photo_saying("print", tmp_path / "x.jpg")
        assert np.array_equal(read(loaders, photo), load_image(photo, size=SIZE))


@linux
def test_a_process_that_somebody_ends_between_photos_costs_none(tmp_path: Path) -> None:
    photo = photo_saying("nothing", tmp_path / "x.jpg")
    before = children()
    with Loaders(1) as loaders:
        expected = read(loaders, photo)
        for process in children() - before:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.05)
        assert np.array_equal(read(loaders, photo), expected)


@linux
def test_ctrl_c_and_sigterm_are_not_theirs_to_heed(tmp_path: Path) -> None:
    photo = photo_saying("nothing", tmp_path / "x.jpg")
    before = children()
    with Loaders(1) as loaders:
        for _ in range(2):
            (process,) = children() - before
            os.kill(process, signal.SIGINT)
            os.kill(process, signal.SIGTERM)
            read(loaders, photo)
        assert children() - before == {process}


@linux
@pytest.mark.usefixtures("harmed")
def test_the_end_waits_for_no_photo_and_leaves_no_process(tmp_path: Path) -> None:
    before = children()
    errors: list[ImageError] = []

    def wait() -> None:
        try:
            read(loaders, photo_saying("hang", tmp_path / "x.jpg"))
        except ImageError as error:
            errors.append(error)

    with Loaders(1) as loaders:
        read(loaders, photo_saying("nothing", tmp_path / "good.jpg"))
        reader = threading.Thread(target=wait)
        reader.start()
        time.sleep(0.2)
        begin = time.monotonic()
    assert time.monotonic() - begin < 1
    reader.join(5)
    assert errors and not reader.is_alive()
    assert children() == before


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_they_end_with_whoever_started_them_however_that_ends(tmp_path: Path) -> None:
    photo = photo_saying("nothing", tmp_path / "x.jpg")
    code = (
        "import os, signal, sys; from capcli.inputs.loaders import Loaders; loaders = Loaders(1).__enter__();"
        "loaders.load(sys.argv[1], size=(8, 8), max_pixels=10**6); print(loaders.processes[0], flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = int(python(code, str(photo)).out)
    end = time.monotonic() + 10
    while running(process) and time.monotonic() < end:
        time.sleep(0.02)
    assert not running(process)


def test_more_are_started_only_when_photos_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = photo_saying("nothing", tmp_path / "x.jpg")
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            read(loaders, photo)

    monkeypatch.setattr("capcli.inputs.loaders._PATIENCE_S", 60)
    with Loaders(2) as loaders:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            # Several wait for the one at any time, but not for long.
            time.sleep(0.5)
            assert len(loaders.processes) == 1
            monkeypatch.setattr("capcli.inputs.loaders._PATIENCE_S", 0.1)
            end = time.monotonic() + 30
            while len(loaders.processes) < 2 and time.monotonic() < end:
                time.sleep(0.01)
            assert len(loaders.processes) == 2
        finally:
            over.set()
            for thread in threads:
                thread.join()


def test_they_import_no_model_and_nothing_from_the_folder_they_are_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = photo_saying("nothing", tmp_path / "x.jpg")
    (tmp_path / "numpy.py").write_text("raise SystemExit('a photo folder is no place for code')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    with Loaders(1) as loaders:
        read(loaders, photo)
        if sys.platform == "linux":
            maps = Path(f"/proc/{loaders.processes[0]}/maps").read_text()
            assert "numpy" in maps and "onnxruntime" not in maps


def test_where_no_process_can_be_started_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(CapcliError, match="no process to read photos in can be started") as raised, Loaders(1):
        pass
    assert not isinstance(raised.value, ImageError)


def test_one_that_cannot_import_what_it_needs_says_what(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    photo = photo_saying("nothing", tmp_path / "x.jpg")
    broken = tmp_path / "broken"
    (broken / "PIL").mkdir(parents=True)
    (broken / "PIL" / "__init__.py").write_text("raise ImportError('no libjpeg')")
    monkeypatch.setattr(sys, "path", [str(broken), *sys.path])
    with Loaders(1) as loaders, pytest.raises(CapcliError, match="no libjpeg") as raised:
        read(loaders, photo)
    assert not isinstance(raised.value, ImageError)


def test_a_process_that_waits_for_its_first_photo_is_not_given_up(tmp_path: Path) -> None:
    photo = photo_saying("nothing", tmp_path / "x.jpg")
    with Loaders(1, longest_s=1) as loaders:
        (first,) = loaders.processes
        time.sleep(2.5)
        read(loaders, photo)
        assert loaders.processes == [first]
