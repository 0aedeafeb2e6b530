"""The wheel, as a user gets it: built from the sdist, installed in a new environment, run far from the checkout."""

from __future__ import annotations

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


def test_the_sdist_holds_what_is_needed_to_build_and_test(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "models/default/manifest.json"} <= names
    assert {"capcli/captioner.py", "tests/conftest.py", "tests/tiny_bundle/manifest.json"} <= names


def test_the_wheel_holds_the_package_and_the_bundle_and_nothing_else(built: Path) -> None:
    (archive,) = built.glob("*.whl")
    with zipfile.ZipFile(archive) as wheel:
        names = {info.filename for info in wheel.infolist()}
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"capcli"}
    bundle = {path.name for path in (ROOT / "models" / "default").iterdir()}
    assert {name for name in names if name.startswith("capcli/models/")} == {
        f"capcli/models/default/{name}" for name in bundle
    }
    # Modules, and what lies beside them: pages, weights.
    files = [path for path in (ROOT / "capcli").rglob("*.*") if path.is_file() and path.suffix != ".pyc"]
    assert {str(path.relative_to(ROOT)).replace(os.sep, "/") for path in files} <= names
    assert "capcli/py.typed" in names
    others = {name for name in names if not name.startswith("capcli/models/")}
    assert not [name for name in others if "test" in name or name.endswith((".pyc", ".npz", ".pt"))]
    assert archive.stat().st_size < 30_000_000


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
