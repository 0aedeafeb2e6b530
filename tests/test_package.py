"""The wheel, as a user gets it: built from the sdist, installed in a new environment, run far from the checkout."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import TESTS, environment, python
from tests.photos import write_photo

ROOT = TESTS.parent


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of a copy of this checkout, and the wheel built from that sdist."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    ignore = shutil.ignore_patterns(".git", ".venv", "venv", "dist", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, source, ignore=ignore)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", cwd=source)
    shutil.rmtree(source)
    return folder / "dist"


def sources(*places: str) -> set[str]:
    """The files of this checkout below some places, but for what running it has made."""
    paths = [
        path for place in places for path in ([ROOT / place] if (ROOT / place).is_file() else (ROOT / place).rglob("*"))
    ]
    made = ("__pycache__", ".hypothesis")
    files = [path.relative_to(ROOT) for path in paths if path.is_file() and not set(made) & set(path.parts)]
    return {file.as_posix() for file in files}


def test_the_sdist_holds_what_is_needed_to_build_and_test_and_nothing_else(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        assert all(member.isfile() for member in tar.getmembers())
        names = {name.partition("/")[2] for name in tar.getnames()}
    wanted = sources("capcli", "models", "tests", "README.md", "LICENSE", "pyproject.toml")
    # The builder adds what it has to say of the package, and the list of what is no source.
    assert names == wanted | {"PKG-INFO", ".gitignore"}
    assert {"models/default/manifest.json", "tests/tiny_bundle/manifest.json", "capcli/py.typed"} <= names


def test_the_wheel_holds_the_package_and_the_bundle_and_nothing_else(built: Path) -> None:
    (archive,) = built.glob("*.whl")
    with zipfile.ZipFile(archive) as wheel:
        contents = {info.filename: wheel.read(info) for info in wheel.infolist()}
    about = {name.partition("/")[2] for name in contents if name.partition("/")[0].endswith(".dist-info")}
    assert about == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    rest = {name for name in contents if not name.partition("/")[0].endswith(".dist-info")}
    assert rest == sources("capcli") | {f"capcli/{name}" for name in sources("models/default")}
    assert not [name for name in sources("capcli") if "test" in name or name.endswith((".pyc", ".npz", ".pt"))]
    assert archive.stat().st_size < 30_000_000


def test_the_bundle_in_the_wheel_is_whole_by_its_own_checksums(built: Path) -> None:
    (archive,) = built.glob("*.whl")
    place = "capcli/models/default/"
    with zipfile.ZipFile(archive) as wheel:
        names = {name.removeprefix(place) for name in wheel.namelist() if name.startswith(place)}
        manifest = json.loads(wheel.read(f"{place}manifest.json"))
        files = list(manifest["files"].values())
        assert names == {"manifest.json", *(file["path"] for file in files)}
        for file in files:
            content = wheel.read(place + file["path"])
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"]), file["path"]


def test_the_installed_wheel_captions_a_photo_far_from_the_checkout(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    place = tmp_path / "new environment"
    run(sys.executable, "-m", "venv", place, cwd=tmp_path)
    binaries = place / ("Scripts" if os.name == "nt" else "bin")
    run(binaries / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # The dependencies are borrowed from the environment that runs the tests, after the new one's own packages.
    own = Path(
        run(binaries / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    )
    (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")

    photo = write_photo(tmp_path / "a cat.jpg", "chelsea")
    answer = run(binaries / "capcli", "caption", photo, cwd=tmp_path)
    assert answer.count("\n") == 1 and answer.endswith(".\n")
    assert "cat" in answer.lower()
    where = run(
        binaries / "python",
        "-c",
        "import capcli.bundle.bundle as b; print(b.__file__); print(b.find_bundle())",
        cwd=tmp_path,
    ).splitlines()
    assert all(Path(line).is_relative_to(own) for line in where), where


def test_an_editable_install_finds_the_bundle_of_the_checkout() -> None:
    done = python(
        "import sys; sys.path.insert(0, sys.argv[1]); import capcli.bundle.bundle as b; print(b.find_bundle())",
        str(ROOT),
    )
    assert done.text.strip() == str(ROOT / "models" / "default")


def test_importing_the_package_and_showing_help_load_nothing_heavy() -> None:
    heavy = "{'onnxruntime', 'torch', 'numpy', 'PIL', 'tokenizers'}"
    done = python(f"import sys, capcli; print(sorted({heavy} & set(sys.modules)))")
    assert done.text == "[]\n"
    done = python(
        "import sys, capcli.cli\n"
        "code = sum(capcli.cli.run(command) for command in (['-h'], ['caption', '-h'], ['train', '-h']))\n"
        f"print(code, sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    assert done.errors == "0 []\n"
