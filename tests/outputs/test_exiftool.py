"""What capcli writes into photos and beside them, as exiftool reads and validates it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from capcli.outputs.metadata import PhotoMetadata
from capcli.outputs.replaced import replaced_note
from capcli.outputs.rows import Row
from capcli.outputs.text_edits import Wording
from capcli.outputs.text_fields import ALT_TEXT, DESCRIPTION
from capcli.outputs.undoing import UndoneMetadata
from capcli.outputs.xmp_sidecars import XmpSidecars
from tests.shapes import draw

pytest.importorskip("pyexiv2")

CAPTION = 'Ein Hund läuft über Gras 🐶 – "schnell" & <fort>.'
BOTH = (DESCRIPTION, ALT_TEXT)
KINDS = ("camera.jpg", "bare.jpg", "a.png", "a.webp", "a.tif")
# An EXIF that holds nothing but the caption; every reader has a value for these.
NO_RESOLUTION = {
    f"Missing required JPEG IFD0 tag {tag}"
    for tag in ("0x011a XResolution", "0x011b YResolution", "0x0128 ResolutionUnit", "0x0213 YCbCrPositioning")
}


def exiftool(*arguments: str | Path) -> bytes:
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("needs exiftool")
    return subprocess.run([program, *arguments], capture_output=True, check=True).stdout


def warnings(files: Sequence[Path]) -> dict[str, set[str]]:
    """By name, all that it finds wrong."""
    found = json.loads(exiftool("-j", "-a", "-G4", "-validate", "-warning", "-error", *files))
    return {
        Path(tags["SourceFile"]).name: {
            value for key, value in tags.items() if key.rpartition(":")[2] in ("Warning", "Error")
        }
        for tags in found
    }


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    files = [tmp_path / name for name in KINDS]
    for path in files:
        draw("circle", "red", "white", 1000, 64).save(path)
    exiftool("-q", "-overwrite_original", "-EXIF:Orientation#=6", "-EXIF:Make=Maker", tmp_path / "camera.jpg")
    return files


def test_it_reads_descriptions_and_alt_texts_and_finds_nothing_wrong(photos: list[Path]) -> None:
    before = warnings(photos)
    for path in photos:
        rows = [Row(str(path), CAPTION, -0.1, None)]
        assert PhotoMetadata(Wording(BOTH)).put(rows).written and XmpSidecars(Wording(BOTH)).put(rows).written
    beside = [path.with_name(f"{path.name}.xmp") for path in photos]
    read = ("-j", "-G1", "-Description", "-ImageDescription", "-AltTextAccessibility")
    for tags in json.loads(exiftool(*read, *photos, *beside)):
        tiff = "XMP-tiff" if tags["SourceFile"].endswith(".xmp") else "IFD0"
        assert {key: tags[key] for key in tags if key != "SourceFile"} == {
            "XMP-dc:Description": CAPTION,
            f"{tiff}:ImageDescription": CAPTION,
            "XMP-iptcCore:AltTextAccessibility": CAPTION,
        }
    new = {name: found - before.get(name, set()) for name, found in warnings([*photos, *beside]).items()}
    assert {name: found for name, found in new.items() if found} == {"bare.jpg": NO_RESOLUTION}


def test_the_checksum_of_iptc_stays_right_and_one_that_was_wrong_stays_wrong(photos: list[Path]) -> None:
    path = photos[0]
    iptc = ("-IPTC:CodedCharacterSet=UTF8", "-IPTC:City=München", "-IPTC:Caption-Abstract=Mother, 1974")
    exiftool("-q", "-overwrite_original", *iptc, "-Photoshop:IPTCDigest=new", path)
    stale = path.with_name(f"stale-{path.name}")
    shutil.copy(path, stale)
    exiftool("-q", "-overwrite_original", "-IPTC:City=Berlin", stale)
    before = warnings([path, stale])
    assert not any("IPTCDigest" in found for found in before[path.name])
    assert any("IPTCDigest" in found for found in before[stale.name])
    for each in (path, stale):
        outcome = PhotoMetadata(Wording(overwrite=True, told=True)).put([Row(str(each), CAPTION, -0.1, None)])
        assert outcome.written
        assert json.loads(exiftool("-j", "-Caption-Abstract", each))[0]["Caption-Abstract"] == CAPTION
        if each == path:
            note = replaced_note(outcome.replaced or {})
    assert warnings([path, stale]) == before
    assert UndoneMetadata().put([Row(str(path), CAPTION, None, None, note=note)]).written
    assert warnings([path]) == {path.name: before[path.name]}
    assert json.loads(exiftool("-j", "-Caption-Abstract", path))[0]["Caption-Abstract"] == "Mother, 1974"
