"""What Exiv2 makes of a photo is looked at before the photo is replaced: nothing may be lost, or be there still."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capcli.errors import OutputError
from capcli.outputs.image_data import image_data
from tests.shapes import draw

pyexiv2 = pytest.importorskip("pyexiv2")

from capcli.outputs.exiv2 import Metadata, changed  # noqa: E402
from capcli.outputs.metadata import write_description  # noqa: E402

HELD = Metadata(
    "JPEG",
    (4, 4),
    {"Exif.Image.Make": "Maker", "Exif.Canon.OwnerName": "Mine", "Exif.Image.XMLPacket": "1 2"},
    {"Iptc.Application2.Keywords": ["dog"]},
    {"Xmp.xmp.Rating": "4"},
    "a comment",
    b"profile",
    b"thumbnail",
)


@pytest.mark.parametrize(
    "lost",
    [
        {"exif": {**HELD.exif, "Exif.Image.Make": "Other"}},
        {"exif": {key: HELD.exif[key] for key in ("Exif.Canon.OwnerName", "Exif.Image.XMLPacket")}},
        {"exif": {key: HELD.exif[key] for key in ("Exif.Image.Make", "Exif.Image.XMLPacket")}},
        {"iptc": {}},
        {"iptc": {"Iptc.Application2.Keywords": ["cat"]}},
        {"xmp": {}},
        {"xmp": {**HELD.xmp, "Xmp.xmp.Label": "red"}},
        {"comment": ""},
        {"profile": b""},
        {"thumbnail": b""},
        {"size": (4, 5)},
    ],
)
def test_other_metadata_that_would_be_lost_is_told(lost: dict[str, Any]) -> None:
    assert not HELD.is_kept_by(replace(HELD, **lost))


def test_where_things_lie_and_what_makers_note_may_be_another() -> None:
    for exif in (
        {key: HELD.exif[key] for key in ("Exif.Image.Make", "Exif.Canon.OwnerName")},
        {**HELD.exif, "Exif.Canon.OwnerName": "Yours", "Exif.Photo.MakerNote": "3"},
        {**HELD.exif, "Exif.Image.ExifTag": "8"},
    ):
        assert HELD.is_kept_by(replace(HELD, exif=exif))


def photo() -> bytes:
    buffer = io.BytesIO()
    draw("circle", "red", "white", 1, 64).save(buffer, "JPEG")
    with pyexiv2.ImageData(buffer.getvalue()) as image:
        image.modify_exif({"Exif.Image.Make": "Maker", "Exif.Image.ImageDescription": "Old"})
        image.modify_iptc({"Iptc.Application2.Keywords": ["dog"]})
        image.modify_xmp({"Xmp.xmp.Rating": "4"})
        return bytes(image.get_bytes())


def without(family: str, key: str) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        with pyexiv2.ImageData(content) as image:
            getattr(image, f"modify_{family}")({key: None})
            return bytes(image.get_bytes())

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], "more than the metadata would change"),
        (lambda content: content + b"x", "more than the metadata would change"),
        (without("exif", "Exif.Image.Make"), "other metadata would be lost"),
        (without("iptc", "Iptc.Application2.Keywords"), "other metadata would be lost"),
        (without("xmp", "Xmp.xmp.Rating"), "other metadata would be lost"),
        (without("xmp", "Xmp.dc.description"), "other metadata would be lost"),
    ],
)
def test_a_photo_of_which_more_would_change_is_left_alone(
    change: Callable[[bytes], bytes], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exiv2 has never done it; a next version may."""
    (tmp_path / "a.jpg").write_bytes(photo())
    before = (tmp_path / "a.jpg").read_bytes()
    get_bytes = pyexiv2.ImageData.get_bytes
    changed: list[bool] = []

    def changes_more(image: Any) -> bytes:
        # What the change itself asks for is as it should be.
        content = bytes(get_bytes(image))
        if changed:
            return content
        changed.append(True)
        return change(content)

    monkeypatch.setattr(pyexiv2.ImageData, "get_bytes", changes_more)
    with pytest.raises(OutputError, match=f"^its metadata cannot be written: {reason}$"):
        write_description(tmp_path / "a.jpg", "A dog.", overwrite=True)
    assert (tmp_path / "a.jpg").read_bytes() == before and changed


def test_what_is_to_go_and_stays_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    content = photo()
    before, parts = Metadata.of(content, "JPEG"), image_data(content, "JPEG")
    gone = changed(content, before, {"Exif.Image.ImageDescription": None}, parts)
    assert "Exif.Image.ImageDescription" not in Metadata.of(gone, "JPEG").exif
    monkeypatch.setattr(pyexiv2.ImageData, "get_bytes", lambda image: content)
    with pytest.raises(OutputError, match="other metadata would be lost"):
        changed(content, before, {"Exif.Image.ImageDescription": None}, parts)
