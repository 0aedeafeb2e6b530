"""A bundle on disk: found, read, checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import capcli.bundle.bundle
from capcli import Captioner
from capcli.bundle.bundle import bundle_folders, find_bundle, load_bundle, read_bundle, write_manifest
from capcli.bundle.habits import Habits
from capcli.bundle.precision import Agreement, Calibration, Precision
from capcli.errors import BundleError
from tests.conftest import TINY_BUNDLE, RunCommand

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    target = tmp_path / "bundle"
    shutil.copytree(tiny, target)
    return target


def change_manifest(folder: Path, change: Change) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_text("utf-8"))
    change(values)
    path.write_text(json.dumps(values), "utf-8")


def test_the_manifest_survives_a_round_trip(copy: Path) -> None:
    precision = Precision("int8", Calibration(192, ("a", "b")), Agreement(100, 93, 81.5, 82.25))
    habits = Habits({"tv": "TV"}, {"a": 3})
    before = replace(read_bundle(copy).manifest, precision=precision, habits=habits)
    write_manifest(copy, before)
    assert read_bundle(copy).manifest == before


def test_the_default_bundle_is_found_whole_and_small() -> None:
    bundle = load_bundle("default")
    files = list(bundle.folder.iterdir())
    assert {file.name for file in files} == {"manifest.json"} | {f.path for f in bundle.manifest.files.values()}
    assert sum(file.stat().st_size for file in files) <= 33_000_000
    assert bundle.manifest.weights_terms
    assert bundle.manifest.trained_on


def test_one_changed_byte_in_any_file_is_noticed(copy: Path) -> None:
    for role in ("encoder", "decoder", "tokenizer", "card"):
        path = read_bundle(copy).path(role)
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(BundleError, match=path.name):
            load_bundle(copy)
        path.write_bytes(content)
    load_bundle(copy)


def test_a_missing_and_a_short_file_are_named(copy: Path) -> None:
    path = copy / "decoder.onnx"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(BundleError, match=r"decoder\.onnx.*bytes"):
        load_bundle(copy)
    path.unlink()
    with pytest.raises(BundleError, match=r"decoder\.onnx"):
        load_bundle(copy)


def _outside(name: str) -> Change:
    def change(values: dict[str, Any]) -> None:
        values["files"]["tokenizer"]["path"] = name

    return change


@pytest.mark.parametrize("name", ["../tokenizer.json", "/etc/passwd", "a/../../x", "C:\\x", "", "."])
def test_a_manifest_cannot_point_outside_its_folder(copy: Path, name: str) -> None:
    change_manifest(copy, _outside(name))
    with pytest.raises(BundleError, match="outside the bundle's folder"):
        read_bundle(copy)


def test_a_manifest_names_its_files_from_its_own_folder(copy: Path) -> None:
    # Or a bundle would be another one as soon as it is moved.
    change_manifest(copy, _outside(str(copy / "tokenizer.json")))
    with pytest.raises(BundleError, match="outside the bundle's folder"):
        read_bundle(copy)


def test_a_manifest_that_goes_on_for_megabytes_is_refused(copy: Path) -> None:
    path = copy / "manifest.json"
    path.write_bytes(path.read_bytes() + b" " * (16 << 20))
    with pytest.raises(BundleError, match="it is larger than 16 MB"):
        read_bundle(copy)


def test_a_link_out_of_the_folder_is_refused(copy: Path, tmp_path: Path) -> None:
    outside = tmp_path / "tokenizer.json"
    shutil.move(copy / "tokenizer.json", outside)
    (copy / "tokenizer.json").symlink_to(outside)
    with pytest.raises(BundleError, match="outside the bundle's folder"):
        read_bundle(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.update(format=2), "format 2"),
        (lambda values: values.pop("format"), "format None"),
        (lambda values: values.pop("graph"), "graph"),
        (lambda values: values["files"].pop("decoder"), "decoder"),
        (lambda values: values["input"].update(resize="crop"), "crop"),
        (lambda values: values["input"].update(size=10**9), "input size"),
        (lambda values: values["input"].update(size=15), "input size"),
        (lambda values: values["input"].update(size=2049), "input size"),
        (lambda values: values["search"].update(beam=0), "search settings"),
        (lambda values: values["search"].update(max_length=0), "search settings"),
        (lambda values: values["search"].update(length_penalty=-1), "search settings"),
        (lambda values: values["search"].update(length_penalty=float("nan")), "search settings"),
        (lambda values: values["tokens"].update(end="x"), "malformed"),
        (lambda values: values.update(files=[]), "malformed"),
        (lambda values: values.update(search=None), "malformed"),
        (lambda values: values.update(precision={"encoder": 8}), "malformed"),
        (lambda values: values.update(precision={"calibration": {"images": 3}}), "malformed"),
    ],
)
def test_a_malformed_manifest_is_one_clear_error(copy: Path, change: Change, message: str) -> None:
    change_manifest(copy, change)
    with pytest.raises(BundleError, match=message):
        read_bundle(copy)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null"])
def test_a_manifest_that_is_not_json_is_one_clear_error(copy: Path, content: bytes) -> None:
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        read_bundle(copy)


@pytest.mark.parametrize("token", ["pad", "start", "end", "unknown"])
def test_special_tokens_must_be_those_of_the_tokenizer(copy: Path, token: str) -> None:
    load_bundle(copy).tokenizer()

    def other(values: dict[str, Any]) -> None:
        values["tokens"][token] = 9

    there = getattr(read_bundle(copy).manifest.tokens, token)
    change_manifest(copy, other)
    for load in (lambda: load_bundle(copy).tokenizer(), lambda: Captioner(copy, provider="cpu")):
        with pytest.raises(BundleError) as caught:
            load()
        assert str(caught.value).startswith(
            f"{copy / 'manifest.json'}: its {token} token is 9, but {there} in {copy / 'tokenizer.json'}; "
        )


def test_the_command_refuses_special_tokens_that_disagree(copy: Path, capcli: RunCommand) -> None:
    change_manifest(copy, lambda values: values["tokens"].update(end=99999))
    for arguments in (["caption", "x.png", "--model", copy], ["models", "verify", copy], ["models", "info", copy]):
        done = capcli(*arguments)
        assert (done.code, done.out, done.errors.count("\n")) == (3, b"", 1)
        assert "manifest.json: its end token is 99999" in done.errors and "tokenizer.json" in done.errors


def test_the_fingerprint_changes_with_all_that_decides_a_caption(copy: Path) -> None:
    def digest(role: str) -> Change:
        return lambda values: values["files"][role].update(sha256="0" * 64)

    changes: list[Change] = [
        *map(digest, ("encoder", "decoder", "tokenizer")),
        lambda values: values.update(casing={"tv": "TV"}),
        lambda values: values.update(returns={"a": 9}),
    ]
    prints = [read_bundle(copy).fingerprint]
    for change in changes:
        before = (copy / "manifest.json").read_bytes()
        change_manifest(copy, change)
        prints.append(read_bundle(copy).fingerprint)
        (copy / "manifest.json").write_bytes(before)
    assert len(set(prints)) == 6
    change_manifest(copy, digest("card"))
    assert read_bundle(copy).fingerprint == prints[0]


def test_a_model_of_ones_own_goes_before_the_shipped_one_of_the_same_name(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = copy.parent / "data" / "capcli" / "models" / "default"
    shutil.copytree(copy, usual)
    copy.rename(copy.parent / "default")
    monkeypatch.setenv("XDG_DATA_HOME", str(copy.parent / "data"))
    monkeypatch.delenv("CAPCLI_MODELS", raising=False)
    assert find_bundle("default") == usual
    monkeypatch.setenv("CAPCLI_MODELS", str(copy.parent))
    assert find_bundle("default") == find_bundle() == copy.parent / "default"
    # The installed package's models come last, but for a clone's own.
    package = Path(capcli.bundle.bundle.__file__).parent.parent
    places = [copy.parent, usual.parent, package / "models"]
    assert bundle_folders()[:3] == places
    # A folder that may be any model's is named by its path.
    monkeypatch.chdir(copy.parent)
    monkeypatch.delenv("CAPCLI_MODELS")
    assert find_bundle("default") == usual
    assert find_bundle("./default") == Path("default")


def test_names_and_folders_that_do_not_exist_are_told_apart(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(BundleError, match="no bundle named 'nonsense'; looked in"):
        find_bundle("nonsense")
    with pytest.raises(BundleError, match="no such bundle folder"):
        find_bundle(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        find_bundle(tmp_path / "empty")


def test_a_named_bundle_is_found_where_the_environment_says(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPCLI_MODELS", str(copy.parent))
    assert find_bundle("bundle") == copy


def test_the_command_refuses_a_damaged_bundle_in_one_line(copy: Path, capcli: RunCommand, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    shutil.copyfile(TINY_BUNDLE / "manifest.json", photo)
    path = copy / "encoder.onnx"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    done = capcli("caption", photo, "--model", copy)
    assert done.code == 3
    assert done.out == b""
    assert done.errors.count("\n") == 1
    assert str(path) in done.errors and "sha256" in done.errors

    path.write_bytes(bytes(content[:1000]) + bytes([content[1000] ^ 1]) + bytes(content[1001:]))
    change_manifest(copy, _outside("../../etc/passwd"))
    done = capcli("caption", photo, "--model", copy)
    assert (done.code, done.out, done.errors.count("\n")) == (3, b"", 1)
    assert "outside the bundle's folder" in done.errors
