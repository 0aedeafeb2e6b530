"""All metadata that Exiv2 finds in a photo or an XMP sidecar, and new content in which some of it is another.

By pyexiv2, a binding of Exiv2, which photo managers have trusted with people's originals for twenty years: maintained,
wheels for Linux, macOS and Windows, it keeps the metadata it is not asked to change, and edits bytes in memory, so no
path ever reaches it. exiftool would also write HEIC and AVIF, but is a Perl program that pip cannot install; piexif is
no longer maintained and knows no XMP; saving with Pillow would compress the picture anew. pyexiv2 is GPL-3.0 and
therefore an extra that capcli runs without. Knows nothing of which fields matter, or of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from capcli.errors import CapcliError, DependencyError, OutputError
from capcli.outputs.files import why
from capcli.outputs.image_data import Part, image_data
from capcli.outputs.iptc_digest import with_current_digest

# By Exiv2's keys, and `COMMENT`; None takes something away. A text of EXIF or IPTC, and a comment, is bytes kept as
# Latin-1, since any coding is met.
Changes = Mapping[str, Any]
COMMENT = "comment"
# How messages call a photo's own metadata.
WHAT = "its metadata"
# The kind of a file that holds XMP and nothing else.
XMP_FILE = "XMP"
# What says where other things lie, and other metadata wrapped into TIFF tags; both change with what is written.
_POINTERS = frozenset(
    [
        *("Exif.Image.ExifTag", "Exif.Image.GPSTag", "Exif.Image.StripOffsets", "Exif.Image.TileOffsets"),
        *("Exif.Image.XMLPacket", "Exif.Image.IPTCNAA", "Exif.Image.ImageResources", "Exif.Photo.MakerNote"),
        *("Exif.Photo.InteroperabilityTag", "Exif.Thumbnail.JPEGInterchangeFormat", "Exif.Thumbnail.StripOffsets"),
        "Exif.Thumbnail.TileOffsets",
    ]
)
# What XMP and IPTC are wrapped into in a TIFF: these go with the last of it.
_WRAPPERS = frozenset({"Exif.Image.XMLPacket", "Exif.Image.IPTCNAA"})
_STANDARD = ("Exif.Image.", "Exif.Photo.", "Exif.GPSInfo.", "Exif.Iop.", "Exif.Thumbnail.")


@dataclass(frozen=True)
class Metadata:
    """What Exiv2 finds in a file of some `kind`: one of `image_data.KINDS`, or `XMP_FILE`."""

    kind: str
    size: tuple[int, int]
    exif: dict[str, Any]
    iptc: dict[str, Any]
    xmp: dict[str, Any]
    comment: str
    profile: bytes
    thumbnail: bytes

    @classmethod
    def of(cls, content: bytes, kind: str) -> Metadata:
        """Reads a whole file.

        Raises:
            DependencyError: pyexiv2 is not installed.
            Exception: of any kind, for odd metadata.
        """
        with library().ImageData(content) as image:
            is_photo = kind != XMP_FILE
            return cls(
                kind,
                (image.get_pixel_width(), image.get_pixel_height()),
                # Of XMP, Exiv2 makes some EXIF and IPTC.
                image.read_exif("latin-1") if is_photo else {},
                image.read_iptc("latin-1") if is_photo else {},
                image.read_xmp(),
                image.read_comment("latin-1"),
                image.read_icc(),
                image.read_thumbnail(),
            )

    def get(self, key: str) -> Any:
        """A value by its key; None where there is none."""
        if key == COMMENT:
            return self.comment or None
        return next((part[key] for part in (self.xmp, self.exif, self.iptc) if key in part), None)

    def with_changes(self, changes: Changes) -> Metadata:
        """What is to be found after changes."""

        def part(name: str) -> dict[str, Any]:
            old = getattr(self, name.lower())
            new = {key: value for key, value in changes.items() if key.startswith(f"{name}.")}
            return {key: value for key, value in (old | new).items() if value is not None}

        comment = (changes[COMMENT] or "") if COMMENT in changes else self.comment
        return replace(self, exif=part("Exif"), iptc=part("Iptc"), xmp=part("Xmp"), comment=comment)

    def is_kept_by(self, other: Metadata) -> bool:
        """Whether another file has all of this, and no more than EXIF's own. Of makers' notes the names count alone."""
        standard, others = _standard(self.exif), _standard(other.exif)
        return (
            other.exif.keys() >= self.exif.keys() - _WRAPPERS
            and others.items() >= standard.items()
            and (other.xmp, other.comment) == (self.xmp, self.comment)
            # Exiv2 loses some IPTC in PNG, for one.
            and other.iptc == self.iptc
            and (other.size, other.profile, other.thumbnail) == (self.size, self.profile, self.thumbnail)
        )


def changed(content: bytes, before: Metadata, changes: Changes, parts: Sequence[Part] = (), what: str = WHAT) -> bytes:
    """New content of a file in which some metadata is another, and nothing else.

    Args:
        content: the whole file.
        before: what it holds.
        changes: what is to be another.
        parts: the `image_data` of a photo; an XMP sidecar has none.
        what: the file in a message.
    Raises:
        OutputError: more would change.
        ValueError: what was made is not built as such a file should be.
        Exception: of any kind, for odd metadata.
    """
    with library().ImageData(content) as image:
        if before.kind == XMP_FILE:
            # It would make XMP of them again, in other words: 48,8.5N would become 48,8.5000000N.
            image.clear_exif()
            image.clear_iptc()
        for family, modify in (("Exif", image.modify_exif), ("Iptc", image.modify_iptc)):
            own = {key: value for key, value in changes.items() if key.startswith(f"{family}.")}
            if own:
                modify(own, "latin-1")
        image.modify_xmp({key: value for key, value in changes.items() if key.startswith("Xmp.")})
        if COMMENT in changes:
            image.modify_comment(changes[COMMENT] or "", "latin-1")
        new: bytes = image.get_bytes()
    if before.kind == "JPEG":
        new = with_current_digest(content, new)
    if before.kind != XMP_FILE and image_data(new, before.kind) != parts:
        raise refused("more than the metadata would change", what)
    expected, after = before.with_changes(changes), Metadata.of(new, before.kind)
    gone = {key for key, value in changes.items() if value is None} & {*after.exif}
    if gone or not expected.is_kept_by(after):
        raise refused("other metadata would be lost", what)
    return new


@contextmanager
def refusals(file: str, what: str = WHAT) -> Iterator[None]:
    """Where a file's metadata is changed: whatever goes wrong is told as one line.

    Args:
        file: what damage is in, in a message.
        what: what cannot be written, in a message.
    Raises:
        OutputError: it went wrong.
    """
    try:
        yield
    except CapcliError:
        raise
    except OSError as error:
        raise refused(why(error), what) from error
    except MemoryError as error:
        raise refused(f"{file} does not fit into memory", what) from error
    except Exception as error:  # Exiv2 and Python's decoders raise anything for odd metadata
        reason = " ".join(str(error).split()) or type(error).__name__
        raise refused(f"{file} is damaged or of an unusual kind ({reason})", what) from error


def as_text(value: object) -> str:
    """Bytes kept as Latin-1 that are UTF-8 more often than Latin-1."""
    latin = str(value)
    try:
        return latin.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return latin


def as_latin_1(text: str) -> str:
    """The bytes of a text in UTF-8, kept as Latin-1."""
    return text.encode("utf-8").decode("latin-1")


def refused(reason: str, what: str = WHAT) -> OutputError:
    """The error that says that metadata is left as it is: a photo's own, or what else it is called."""
    return OutputError(f"{what} cannot be written: {reason}")


def library() -> Any:
    """pyexiv2, made silent: it would print warnings to standard output, among the captions.

    Raises:
        DependencyError: it is not installed, or cannot be loaded.
    """
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


def _standard(exif: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in exif.items() if key.startswith(_STANDARD) and key not in _POINTERS}
