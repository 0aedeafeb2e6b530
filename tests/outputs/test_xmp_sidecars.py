"""XMP files beside photos: a caption gets into them, and all that other programs keep there stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from capcli.errors import OutputError
from capcli.outputs import xmp_sidecars
from capcli.outputs.files import Draft
from capcli.outputs.outcomes import Outcome
from capcli.outputs.replaced import replaced_note
from capcli.outputs.rows import Row
from capcli.outputs.text_edits import Wording
from capcli.outputs.undoing import UndoneXmp
from capcli.outputs.xmp_sidecars import XmpSidecars
from tests.conftest import python
from tests.shapes import draw

pyexiv2 = pytest.importorskip("pyexiv2")

posix = pytest.mark.skipif(os.name == "nt", reason="links and modes of POSIX")
CAPTION = 'Ein Hund läuft über Gras 🐶 – "schnell" & <fort>.'
LANGUAGE = 'lang="x-default"'
# What Lightroom, darktable and a camera's program keep: times with zones, places, structures, lists, edits.
RICH = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
    xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
    xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" xmlns:darktable="http://darktable.sf.net/"
    xmlns:own="http://example.com/own/"
   xmp:ModifyDate="2023-05-06T07:08:09.12+02:00" xmp:Rating="3" tiff:Make="NIKON" tiff:XResolution="300/1"
   exif:DateTimeOriginal="2023-05-06T07:08:09.12" exif:GPSLatitude="48,8.5083N" exif:GPSLongitude="11,34.0375E"
   photoshop:City="München" photoshop:DateCreated="2023-05-06T07:08:09.012" crs:HasSettings="True"
   crs:Exposure2012="+0.35" darktable:xmp_version="5" own:key="ü &lt;&amp;">
   <dc:title>
    <rdf:Alt><rdf:li xml:lang="x-default">Titel</rdf:li><rdf:li xml:lang="en">Title</rdf:li></rdf:Alt>
   </dc:title>
   <dc:subject><rdf:Bag><rdf:li>dog</rdf:li><rdf:li>Tier</rdf:li></rdf:Bag></dc:subject>
   <exif:Flash exif:Fired="False" exif:Return="0" exif:Mode="2" exif:Function="False" exif:RedEyeMode="False"/>
   <exif:ISOSpeedRatings><rdf:Seq><rdf:li>200</rdf:li></rdf:Seq></exif:ISOSpeedRatings>
   <crs:ToneCurvePV2012><rdf:Seq><rdf:li>0, 0</rdf:li><rdf:li>255, 255</rdf:li></rdf:Seq></crs:ToneCurvePV2012>
   <xmpMM:History>
    <rdf:Seq><rdf:li stEvt:action="saved" stEvt:when="2023-05-06T07:08:09+02:00"/></rdf:Seq>
   </xmpMM:History>
   <darktable:history>
    <rdf:Seq><rdf:li darktable:num="0" darktable:params="00000000000080b9"/></rdf:Seq>
   </darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def xmp(path: Path) -> dict[str, Any]:
    """What Exiv2's own reader finds."""
    with pyexiv2.ImageData(path.read_bytes()) as image:
        found: dict[str, Any] = image.read_xmp()
    return found


def texts(path: Path) -> set[str]:
    """Every text and every attribute of a file, whatever it is in, as any XML reader finds them."""
    found = set()
    for element in ElementTree.parse(path).iter():
        found |= {value.strip() for value in (element.text or "", *element.attrib.values()) if value.strip()}
    return found


def rows(photo: Path, *captions: str) -> list[Row]:
    return [Row(str(photo), caption, -0.1, None) for caption in captions]


@pytest.mark.parametrize("name", ["a.jpg", "b.heic", "c.avif", "d.gif", "e.bmp", 'o\'d "d"\n.png', "é 🐶.JPG"])
def test_a_new_file_says_the_caption_whatever_the_photo_is(name: str, tmp_path: Path) -> None:
    photo, file = tmp_path / name, tmp_path / f"{name}.xmp"
    photo.write_bytes(b"a photo is not looked at")
    assert XmpSidecars().wants(str(photo))
    assert XmpSidecars().put(rows(photo, CAPTION, "Second.")) == Outcome(True)
    assert xmp(file) == {"Xmp.dc.description": {LANGUAGE: CAPTION}, "Xmp.tiff.ImageDescription": {LANGUAGE: CAPTION}}
    assert photo.read_bytes() == b"a photo is not looked at" and len(list(tmp_path.iterdir())) == 2
    assert not XmpSidecars().wants(str(photo)) and XmpSidecars(Wording(overwrite=True)).wants(str(photo))
    if os.name != "nt":
        umask = os.umask(0)
        os.umask(umask)
        assert file.stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_other_programs_keep_stays_to_the_letter(tmp_path: Path) -> None:
    photo, file = tmp_path / "a.jpg", tmp_path / "a.jpg.xmp"
    file.write_text(RICH, "utf-8")
    file.chmod(0o640)
    before, all_texts = xmp(file), texts(file)
    assert XmpSidecars().put(rows(photo, CAPTION)).written
    after = xmp(file)
    assert {key: after.pop(key) for key in ("Xmp.dc.description", "Xmp.tiff.ImageDescription")} == {
        "Xmp.dc.description": {LANGUAGE: CAPTION},
        "Xmp.tiff.ImageDescription": {LANGUAGE: CAPTION},
    }
    assert after == before
    # No other toolkit, and the caption: that is all.
    assert texts(file) ^ all_texts == {CAPTION, "Adobe XMP Core 7.0-c000", "XMP Core 4.4.0-Exiv2"}
    assert os.name == "nt" or file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("where", ["Xmp.dc.description", "Xmp.tiff.ImageDescription"])
def test_a_description_is_replaced_only_when_told(where: str, tmp_path: Path) -> None:
    photo, file = tmp_path / "a.jpg", tmp_path / "a.jpg.xmp"
    with pyexiv2.ImageData(RICH.encode()) as image:
        image.modify_xmp({where: {LANGUAGE: "Mother, 1974", 'lang="de"': "Mutter"}})
        file.write_bytes(image.get_bytes())
    before = file.read_bytes()
    kept = "a.jpg.xmp has a description already: 'Mother, 1974'"
    assert XmpSidecars().put(rows(photo, CAPTION)) == Outcome(False, kept)
    assert XmpSidecars().keeps(str(photo)) == kept and not XmpSidecars().wants(str(photo))
    assert file.read_bytes() == before
    over = XmpSidecars(Wording(overwrite=True))
    outcome = over.put(rows(photo, CAPTION))
    assert outcome.written and outcome.replaced is not None
    assert xmp(file)["Xmp.dc.description"][LANGUAGE] == CAPTION
    # Translations are somebody's work.
    assert xmp(file)[where]['lang="de"'] == "Mutter"
    content, inode = file.read_bytes(), file.stat().st_ino
    assert over.put(rows(photo, CAPTION)).same
    assert (file.read_bytes(), file.stat().st_ino) == (content, inode)


@pytest.mark.parametrize("stem", [False, True])
def test_what_was_replaced_is_put_back(stem: bool, tmp_path: Path) -> None:
    photo, file = tmp_path / "a.jpg", tmp_path / ("a.xmp" if stem else "a.jpg.xmp")
    with pyexiv2.ImageData(RICH.encode()) as image:
        image.modify_xmp({"Xmp.dc.description": {'lang="de"': 'Mutter,\n"1974"'}})
        file.write_bytes(image.get_bytes())
    before = xmp(file)
    outcome = XmpSidecars(Wording(overwrite=True, told=True), stem=stem).put(rows(photo, "A dog."))
    note = replaced_note(outcome.replaced or {})
    row = Row(str(photo), "A dog.", None, None, note=note)
    assert UndoneXmp(stem=not stem).put([row]).same and xmp(file) != before
    assert UndoneXmp(stem=stem).put([row]).written and xmp(file) == before
    assert UndoneXmp(stem=stem).put([row]).same
    file.unlink()
    assert UndoneXmp(stem=stem).put([row]) == Outcome(False, f"{file.name} is not there any more")
    assert list(tmp_path.iterdir()) == []
    XmpSidecars(Wording(overwrite=True), stem=stem).put(rows(photo, "Another."))
    told = f"{file.name} has another description than capcli wrote: 'Another.'"
    assert UndoneXmp(stem=stem).put([row]) == Outcome(False, told)
    file.unlink()
    assert UndoneXmp(stem=stem).put([row]) == Outcome(False, f"{file.name} is not there any more")


def test_of_two_photos_of_one_stem_the_first_has_the_file(tmp_path: Path) -> None:
    sidecars = XmpSidecars(stem=True)
    assert sidecars.put(rows(tmp_path / "a.jpg", "A dog.")).written
    outcome = sidecars.put(rows(tmp_path / "a.png", "A cat."))
    assert outcome == Outcome(
        False, "a.xmp holds the caption of a.jpg, which has the same name but for its suffix", failed=True
    )
    assert xmp(tmp_path / "a.xmp")["Xmp.dc.description"] == {LANGUAGE: "A dog."}
    # A photo that keeps what its file says has the file all the same.
    again = XmpSidecars(stem=True)
    assert not again.wants(str(tmp_path / "a.jpg")) and again.wants(str(tmp_path / "a.png"))
    assert again.put(rows(tmp_path / "a.png", "A cat.")).failed
    # By their whole names both have one.
    full = XmpSidecars()
    assert full.put(rows(tmp_path / "a.jpg", "A dog.")).written and full.put(rows(tmp_path / "a.png", "A cat.")).written


@pytest.mark.parametrize("raw", ["a.NEF", "a.dng", "A.Cr3"])
def test_where_a_raw_photo_of_that_stem_lies_the_file_is_its_own(raw: str, tmp_path: Path) -> None:
    (tmp_path / raw).write_bytes(b"raw")
    sidecars = XmpSidecars(stem=True)
    for name in ("a.jpg", "a.png"):
        assert sidecars.wants(str(tmp_path / name))
        outcome = sidecars.put(rows(tmp_path / name, "A dog."))
        assert outcome.failed and f"a.xmp is that of {raw}, a raw photo of the same name" in str(outcome.reason)
    assert os.listdir(tmp_path) == [raw]
    assert sidecars.put(rows(tmp_path / "b.jpg", "A dog.")).written
    assert sidecars.put(rows(tmp_path / raw, "A dog.")).written
    assert XmpSidecars().put(rows(tmp_path / "a.jpg", "A dog.")).written


BROKEN = {
    "cut": (RICH[:-300].encode(), "is damaged or of an unusual kind"),
    "text": (b"my notes", "is damaged or of an unusual kind"),
    "empty": (b"", "is damaged or of an unusual kind"),
    "other xml": (b"<?xml version='1.0'?><svg/>", "is damaged or of an unusual kind"),
    "no property": (xmp_sidecars._EMPTY, "it holds no XMP that can be read"),
    "photo": (b"\x89PNG\r\n\x1a\n", "it is an image"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_left_as_it_is(name: str, tmp_path: Path) -> None:
    content, message = BROKEN[name]
    (tmp_path / "a.jpg.xmp").write_bytes(content)
    sidecars = XmpSidecars(Wording(overwrite=True))
    assert sidecars.wants(str(tmp_path / "a.jpg"))
    with pytest.raises(OutputError, match=r"^a\.jpg\.xmp cannot be written: ") as refused:
        sidecars.put(rows(tmp_path / "a.jpg", "A dog."))
    assert message in str(refused.value) and "\n" not in str(refused.value)
    assert (tmp_path / "a.jpg.xmp").read_bytes() == content and len(list(tmp_path.iterdir())) == 1


def test_what_is_too_large_or_holds_its_xmp_otherwise_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sidecars = tmp_path / "a.jpg.xmp", XmpSidecars(Wording(overwrite=True))
    file.write_text(RICH, "utf-8")
    with monkeypatch.context() as patch, pytest.raises(OutputError, match="it is too large for XMP"):
        patch.setattr(xmp_sidecars, "MAX_BYTES", 100)
        sidecars.put(rows(tmp_path / "a.jpg", "A dog."))
    assert file.read_text("utf-8") == RICH
    # A kind that Exiv2 knows and capcli does not.
    draw("circle", "red", "white", 1, 32).save(file, "JPEG")
    with pyexiv2.ImageData(file.read_bytes()) as image:
        image.modify_xmp({"Xmp.xmp.Rating": "4"})
        file.write_bytes(image.get_bytes())
    before = file.read_bytes()
    monkeypatch.setattr(xmp_sidecars, "check_replaceable", lambda file, name: None)
    with pytest.raises(OutputError, match="it holds no XMP that can be read"):
        sidecars.put(rows(tmp_path / "a.jpg", "A dog."))
    assert file.read_bytes() == before


@posix
def test_links_folders_and_read_only_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "theirs.xmp").write_text(RICH, "utf-8")
    (tmp_path / "a.jpg.xmp").symlink_to("theirs.xmp")
    (tmp_path / "b.jpg.xmp").mkdir()
    (tmp_path / "c.jpg.xmp").write_text(RICH, "utf-8")
    (tmp_path / "c.jpg.xmp").chmod(0o444)
    sidecars = XmpSidecars(Wording(overwrite=True))
    for name, message in (("a", "no link is followed"), ("b", "it is a folder"), ("c", "it is read-only")):
        with pytest.raises(OutputError, match=message):
            sidecars.put(rows(tmp_path / f"{name}.jpg", "A dog."))
    assert (tmp_path / "theirs.xmp").read_text("utf-8") == RICH
    linked = XmpSidecars(links={str(tmp_path / "d.jpg"): str(tmp_path / "elsewhere")})
    with pytest.raises(OutputError, match="a link leads out of"):
        linked.put(rows(tmp_path / "d.jpg", "A dog."))


def test_a_dry_run_writes_nothing_and_tells_where(tmp_path: Path) -> None:
    outcome = XmpSidecars(dry_run=True).put(rows(tmp_path / "a.jpg", "A dog."))
    assert (outcome.written, outcome.place) == (True, str(tmp_path / "a.jpg.xmp"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exists", [True, False])
def test_a_file_that_another_program_writes_meanwhile_is_left_alone(
    exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.jpg.xmp"
    if exists:
        file.write_text(RICH, "utf-8")
    real = Draft.write

    def slow(draft: Draft, content: bytes) -> None:
        real(draft, content)
        file.write_text("by somebody else", "utf-8")

    monkeypatch.setattr(Draft, "write", slow)
    with pytest.raises(OutputError, match="another program has changed it meanwhile"):
        XmpSidecars().put(rows(tmp_path / "a.jpg", "A dog."))
    assert file.read_text("utf-8") == "by somebody else" and len(list(tmp_path.iterdir())) == 1


@posix
def test_a_kill_leaves_every_file_old_or_new(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from capcli.outputs.rows import Row; from capcli.outputs.text_edits import Wording\n"
        "from capcli.outputs.xmp_sidecars import XmpSidecars\n"
        "sidecars = XmpSidecars(Wording(overwrite=True)); print('ready', flush=True)\n"
        "for turn in range(10**6):\n"
        "    for number in range(3):\n"
        "        path = f'{sys.argv[1]}/{number}.jpg'; sidecars.put([Row(path, f'Turn {turn}.', None, None)])\n"
    )
    for number in range(2):
        (tmp_path / f"{number}.jpg.xmp").write_text(RICH, "utf-8")
    before, said = xmp(tmp_path / "0.jpg.xmp"), set()
    for round_ in range(6):
        run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        assert run.stdout is not None and run.stdout.readline()
        time.sleep(0.02 + 0.017 * round_)
        run.kill()
        run.communicate()
        for number in range(3):
            file = tmp_path / f"{number}.jpg.xmp"
            found = xmp(file) if file.exists() else {}
            said.add(found.pop("Xmp.dc.description", {LANGUAGE: None})[LANGUAGE])
            found.pop("Xmp.tiff.ImageDescription", None)
            assert found == (before if number < 2 else {})
        rest = {path.name for path in tmp_path.iterdir()} - {f"{number}.jpg.xmp" for number in range(3)}
        assert all(name.startswith(".capcli-") and name.endswith(".tmp") for name in rest)
    assert len(said) > 1


def test_without_the_library_one_line_says_what_to_do() -> None:
    code = (
        "import sys; sys.modules['pyexiv2'] = None\n"
        "from capcli.errors import DependencyError\n"
        "from capcli.outputs.undoing import UndoneXmp; from capcli.outputs.xmp_sidecars import XmpSidecars\n"
        "for call in (XmpSidecars, UndoneXmp):\n"
        "    try: call()\n"
        "    except DependencyError as error: print(error)\n"
    )
    assert python(code).text == "writing metadata needs pyexiv2: pip install 'capcli[metadata]'\n" * 2
