"""A caption in a photo's own metadata: XMP dc:description, EXIF ImageDescription, and IPTC where the photo has IPTC.

Written with pyexiv2, a binding of Exiv2, which photo managers have trusted with people's originals for twenty years:
maintained, wheels for Linux, macOS and Windows, it keeps the metadata it is not asked to change, and edits bytes in
memory, so no path ever reaches it. exiftool would also write HEIC and AVIF, but is a Perl program that pip cannot
install; piexif is no longer maintained and knows no XMP; saving with Pillow would compress the picture anew. pyexiv2 is
GPL-3.0 and therefore an extra that capcli runs without.

Which fields: Metadata Working Group, Guidelines for Handling Image Metadata 2.0, section 5.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from capcli.errors import CapcliError, DependencyError, OutputError
from capcli.inputs.kinds import sniff
from capcli.outputs.destinations import Destination, Outcome
from capcli.outputs.files import Draft, why
from capcli.outputs.image_data import KINDS, image_data
from capcli.outputs.rows import Row
from capcli.outputs.spared import leads_out

# The whole file is held in memory, and pyexiv2 counts its bytes with 32 bits.
MAX_BYTES = 1 << 30
_XMP, _EXIF, _IPTC = "Xmp.dc.description", "Exif.Image.ImageDescription", "Iptc.Application2.Caption"
_IPTC_CODING, _UTF_8 = "Iptc.Envelope.CharacterSet", "\x1b%G"
_IPTC_MAX_BYTES = 2000
_DEFAULT_LANGUAGE = 'lang="x-default"'
# What says where other things lie, and other metadata wrapped into TIFF tags; both change with the description.
_POINTERS = frozenset(
    [
        *("Exif.Image.ExifTag", "Exif.Image.GPSTag", "Exif.Image.StripOffsets", "Exif.Image.TileOffsets"),
        *("Exif.Image.XMLPacket", "Exif.Image.IPTCNAA", "Exif.Image.ImageResources", "Exif.Photo.MakerNote"),
        *("Exif.Photo.InteroperabilityTag", "Exif.Thumbnail.JPEGInterchangeFormat", "Exif.Thumbnail.StripOffsets"),
        "Exif.Thumbnail.TileOffsets",
    ]
)
_STANDARD = ("Exif.Image.", "Exif.Photo.", "Exif.GPSInfo.", "Exif.Iop.", "Exif.Thumbnail.")


class PhotoMetadata(Destination):
    """The photos' own descriptions, which get the best of several captions.

    Args:
        overwrite: replace descriptions that photos have.
        links: of photos that a link in a walked folder leads to, that folder (`InputItem.linked_in`); may grow while
            captions are written. Links are followed within that folder; those of photos that were named, anywhere.
    Raises:
        DependencyError: pyexiv2 is not installed.
    """

    def __init__(self, *, overwrite: bool = False, links: Mapping[str, str] | None = None) -> None:
        _library()
        self._overwrite = overwrite
        self._links = {} if links is None else links
        # `keeps` is asked right after `wants`, and a photo is read as a whole for the answer.
        self._asked: tuple[str, str | None] = ("", None)

    def wants(self, path: str) -> bool:
        # Known before a model is loaded for photos that would keep what they have.
        self._asked = (path, self._description(path))
        return self._asked[1] is None

    def keeps(self, path: str) -> str | None:
        asked, described = self._asked
        if asked != path:
            described = self._description(path)
        return None if described is None else _has_one(described)

    def _description(self, path: str) -> str | None:
        """What a photo would keep; None also where only `put` can tell what is wrong with it."""
        try:
            status = os.stat(path)
            if self._overwrite or path in self._links or not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
                return None
            with open(path, "rb") as file:
                content = file.read()
            kind = sniff(content[:64])
            if kind not in KINDS:
                return None
            with _library().ImageData(content) as image:
                return _Metadata.read(image).description(kind) or None
        except Exception:  # Exiv2 raises anything for odd metadata
            return None

    def put(self, rows: Sequence[Row]) -> Outcome:
        path = rows[0].path
        return write_description(
            path, rows[0].caption or "", overwrite=self._overwrite, links_within=self._links.get(path)
        )


def write_description(
    path: str | os.PathLike[str], caption: str, *, overwrite: bool = False, links_within: str | None = None
) -> Outcome:
    """Writes a caption into a photo's metadata; pixels, other metadata, times and permissions stay.

    The photo is replaced by a new file in one step, so that a crash leaves the old or the new one. A symbolic link
    stays one, and what it points to is rewritten. Further hard links keep the photo as it was: they are how snapshots
    and backups keep an earlier state.

    Args:
        path: a JPEG, PNG, WebP or TIFF file.
        caption: the text, in any language; white space becomes single spaces.
        overwrite: replace a description that the photo has.
        links_within: a folder above the photo that links on the way to it may not lead out of.
    Returns:
        Whether it was written; if not, because the photo has a description, which one. `same` if it is this very
        caption.
    Raises:
        DependencyError: pyexiv2 is not installed.
        OutputError: it cannot be written, or not without changing more than the description; the photo is as it was.
            The message does not name the photo.
    """
    _library()
    try:
        target = os.path.realpath(path)
        if links_within is not None and leads_out(target, links_within):
            raise _refused(f"a link leads out of {links_within} to the photo; name the photo itself")
        return _rewrite(target, " ".join(caption.split()), overwrite)
    except CapcliError:
        raise
    except OSError as error:
        raise _refused(why(error)) from error
    except MemoryError as error:
        raise _refused("the photo does not fit into memory") from error
    except Exception as error:  # Exiv2 and Python's decoders raise anything for odd metadata
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _refused(f"the photo or its metadata is damaged or of an unusual kind ({reason})") from error


def _rewrite(target: str, caption: str, overwrite: bool) -> Outcome:
    status = os.stat(target)
    if not stat.S_ISREG(status.st_mode):
        raise _refused("it is not a regular file")
    # Root may write to anything, and a folder's permission is enough to replace a file: the photo's own is asked.
    if not status.st_mode & 0o222 or not os.access(target, os.W_OK):
        raise _refused("the photo is read-only")
    if status.st_size > MAX_BYTES:
        raise _refused("the photo is larger than 1 GB")
    with open(target, "rb") as file:
        content = file.read()
    described = _described(content, caption, overwrite)
    if isinstance(described, Outcome):
        return described
    # Others may not look into the new file before it has the permissions of the old one.
    with Draft(target, described, mode=0o600) as draft:
        draft.copy_access(status)
        shutil.copystat(target, draft.path)
        # The photo was read since, which may have moved its time of access.
        os.utime(draft.path, ns=(status.st_atime_ns, status.st_mtime_ns))
        now = os.stat(target)
        if (now.st_ino, now.st_size, now.st_mtime_ns) != (status.st_ino, status.st_size, status.st_mtime_ns):
            raise _refused("another program changed the photo meanwhile")
        draft.replace()
    return Outcome(True)


def _described(content: bytes, caption: str, overwrite: bool) -> bytes | Outcome:
    """The photo with the caption in its metadata, or why it is left alone."""
    kind = sniff(content[:64])
    if kind not in KINDS:
        raise _refused(f"{kind or 'such'} files are left alone; JPEG, PNG, WebP and TIFF can be written")
    parts = image_data(content, kind)
    pyexiv2 = _library()
    with pyexiv2.ImageData(content) as image:
        before = _Metadata.read(image)
        old = before.description(kind)
        if old and not overwrite:
            same = old == caption
            return Outcome(False, _has_one(old), same=same)
        image.modify_exif({_EXIF: caption})
        image.modify_xmp({_XMP: before.languages(caption)})
        changes = before.iptc_changes(caption)
        if changes:
            image.modify_iptc(changes, "latin-1")
        if kind == "PNG" and before.comment:
            image.modify_comment(caption)
        described: bytes = image.get_bytes()
    with pyexiv2.ImageData(described) as image:
        after = _Metadata.read(image)
    if image_data(described, kind) != parts:
        raise _refused("more than the metadata would change")
    # Exiv2 loses some IPTC in PNG, for one.
    iptc = {key: value for key, value in (before.iptc | changes).items() if value is not None}
    if not after.says(caption) or not after.keeps(before, kind) or after.iptc != iptc:
        raise _refused("other metadata would be lost")
    return described


@dataclass(frozen=True)
class _Metadata:
    """All that Exiv2 finds in a photo. EXIF, IPTC and comment are bytes kept as Latin-1, since any coding is met."""

    size: tuple[int, int]
    exif: dict[str, Any]
    iptc: dict[str, Any]
    xmp: dict[str, Any]
    comment: str
    profile: bytes
    thumbnail: bytes

    @classmethod
    def read(cls, image: Any) -> _Metadata:
        return cls(
            (image.get_pixel_width(), image.get_pixel_height()),
            image.read_exif("latin-1"),
            image.read_iptc("latin-1"),
            image.read_xmp(),
            image.read_comment("latin-1"),
            image.read_icc(),
            image.read_thumbnail(),
        )

    def description(self, kind: str) -> str:
        """What the photo says about itself; "" if nothing."""
        xmp = self.xmp.get(_XMP, "")
        texts = [*xmp.values()] if isinstance(xmp, dict) else [xmp]
        texts += [_text(self.exif.get(_EXIF, "")), _text(self.iptc.get(_IPTC, ""))]
        # In PNG, Exiv2's comment is the text "Description"; in JPEG, a program's name more often than not.
        texts += [_text(self.comment)] if kind == "PNG" else []
        return next((text.strip() for text in texts if isinstance(text, str) and text.strip(" \0")), "")

    def languages(self, caption: str) -> dict[str, str]:
        """The description in all its languages. Those that only repeated the default one follow it."""
        old = self.xmp.get(_XMP)
        languages = dict(old) if isinstance(old, dict) else {}
        default = languages.pop(_DEFAULT_LANGUAGE, None)
        rest = {language: caption if text == default else text for language, text in languages.items()}
        return {_DEFAULT_LANGUAGE: caption, **rest}

    def iptc_changes(self, caption: str) -> dict[str, str | None]:
        """What to set in IPTC, kept as Latin-1: nothing where the photo has none.

        Its one coding holds for all its texts. An old caption goes in any case.
        """
        if not self.iptc:
            return {}
        coded = caption.encode("utf-8")
        plain = all(str(value).isascii() for value in self.iptc.values())
        if len(coded) > _IPTC_MAX_BYTES:
            return {_IPTC: None}
        if plain or self.iptc.get(_IPTC_CODING) == _UTF_8:
            return {_IPTC: coded.decode("latin-1"), _IPTC_CODING: _UTF_8}
        return {_IPTC: caption if caption.isascii() else None}

    def says(self, caption: str) -> bool:
        xmp = self.xmp.get(_XMP)
        return (
            isinstance(xmp, dict)
            and xmp.get(_DEFAULT_LANGUAGE) == caption
            and _text(self.exif.get(_EXIF, "")) == caption
        )

    def keeps(self, before: _Metadata, kind: str) -> bool:
        """Whether all but the description and IPTC is as it was. Of makers' notes, full of pointers, only the names."""
        return (
            self.exif.keys() >= before.exif.keys()
            and self._standard() | before._standard() == self._standard()
            and {**self.xmp, _XMP: None} == {**before.xmp, _XMP: None}
            and (self.comment == before.comment or kind == "PNG")
            and (self.size, self.profile, self.thumbnail) == (before.size, before.profile, before.thumbnail)
        )

    def _standard(self) -> dict[str, Any]:
        return {
            key: value
            for key, value in self.exif.items()
            if key.startswith(_STANDARD) and key not in _POINTERS and key != _EXIF
        }


def _text(value: object) -> str:
    """Bytes kept as Latin-1 that are UTF-8 more often than Latin-1."""
    latin = str(value)
    try:
        return latin.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return latin


def _has_one(description: str) -> str:
    return f"its metadata has a description already: {_short(description)}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 60 else f"{line[:59]}…")


def _refused(reason: str) -> OutputError:
    return OutputError(f"its metadata cannot be written: {reason}")


def _library() -> Any:
    """pyexiv2, made silent: it would print warnings to standard output, among the captions."""
    try:
        import pyexiv2
    except ModuleNotFoundError as error:
        if error.name == "pyexiv2":
            raise DependencyError("writing metadata needs pyexiv2: pip install 'capcli[metadata]'") from error
        raise DependencyError(f"pyexiv2 is installed but cannot be loaded ({error})") from error
    except (ImportError, OSError, RuntimeError) as error:
        raise DependencyError(f"pyexiv2 is installed but cannot be loaded ({error})") from error
    # Errors, unlike warnings, become exceptions.
    pyexiv2.set_log_level(3)
    return pyexiv2
