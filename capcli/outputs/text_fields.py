"""A photo's description and its alt text: in which fields of its metadata they are, what they say, what replaces them.

The description: XMP `dc:description`, EXIF `ImageDescription`, and IPTC where the photo has IPTC (Metadata Working
Group, Guidelines for Handling Image Metadata 2.0, section 5); in an XMP sidecar `tiff:ImageDescription` stands for
EXIF's. The alt text: `AltTextAccessibility` (IPTC Photo Metadata Standard 2021.1), a language alternative: a plain
string is not what others look for. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from capcli.outputs.exiv2 import COMMENT, XMP_FILE, Changes, Metadata, as_latin_1, as_text

DESCRIPTION, ALT_TEXT = "description", "alt text"
_XMP, _EXIF, _IPTC = "Xmp.dc.description", "Exif.Image.ImageDescription", "Iptc.Application2.Caption"
_TIFF, _ALT = "Xmp.tiff.ImageDescription", "Xmp.iptc.AltTextAccessibility"
_IPTC_CODING, _UTF_8 = "Iptc.Envelope.CharacterSet", "\x1b%G"
_IPTC_MAX_BYTES = 2000
KEYS = frozenset({_XMP, _EXIF, _IPTC, _IPTC_CODING, _TIFF, _ALT, COMMENT})
_DEFAULT_LANGUAGE = 'lang="x-default"'


def text_of(field: str, metadata: Metadata) -> str:
    """What a field says, `DESCRIPTION` or `ALT_TEXT`; "" if nothing."""
    if field == ALT_TEXT:
        texts = _texts(metadata.xmp.get(_ALT))
    elif metadata.kind == XMP_FILE:
        texts = [*_texts(metadata.xmp.get(_XMP)), *_texts(metadata.xmp.get(_TIFF))]
    else:
        texts = _texts(metadata.xmp.get(_XMP))
        texts += [as_text(metadata.exif.get(_EXIF, "")), as_text(metadata.iptc.get(_IPTC, ""))]
        # In PNG, Exiv2's comment is the text "Description"; in JPEG, a program's name more often than not.
        texts += [as_text(metadata.comment)] if metadata.kind == "PNG" else []
    return next((text.strip() for text in texts if text.strip(" \0")), "")


def changes_for(field: str, text: str, before: Metadata) -> dict[str, Any]:
    """What to change so that a field says something."""
    if field == ALT_TEXT:
        return {_ALT: _languages(before.xmp.get(_ALT), text)}
    changes: dict[str, Any] = {_XMP: _languages(before.xmp.get(_XMP), text)}
    if before.kind == XMP_FILE:
        return changes | {_TIFF: _languages(before.xmp.get(_TIFF), text)}
    changes |= {_EXIF: as_latin_1(text), **_iptc_changes(before.iptc, text)}
    if before.kind == "PNG" and before.comment:
        changes[COMMENT] = as_latin_1(text)
    return changes


def says(field: str, text: str, metadata: Metadata) -> bool:
    """Whether a field still says what was written to it."""
    keys = (_ALT,) if field == ALT_TEXT else (_XMP,) if metadata.kind == XMP_FILE else (_XMP, _EXIF)
    return all(_default(metadata.get(key)) == text for key in keys)


def field_of(key: str) -> str:
    """The field that a key of `changes_for` belongs to."""
    return ALT_TEXT if key == _ALT else DESCRIPTION


def replaced_by(changes: Changes, before: Metadata) -> dict[str, Any]:
    """What changes replace, by the same keys, None where nothing was: to be changed back to."""
    return {key: before.get(key) for key in changes}


def to_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by key, with texts of EXIF and IPTC as people read them; bytes that are not UTF-8 as surrogates."""
    return {key: _readable(key, value) for key, value in values.items()}


def from_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """What `to_json` was given; a plain string where a language alternative belongs is one of the default language."""
    return {key: _as_kept(key, value) for key, value in values.items()}


def _readable(key: str, value: Any) -> Any:
    if key.startswith("Xmp.") or not isinstance(value, str):
        return value
    return value.encode("latin-1").decode("utf-8", "surrogateescape")


def _as_kept(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if key.startswith("Xmp."):
        return {_DEFAULT_LANGUAGE: value}
    return value.encode("utf-8", "surrogateescape").decode("latin-1")


def _texts(value: Any) -> list[str]:
    """The texts of a language alternative, or the one that stands where one belongs."""
    return [text for text in (value.values() if isinstance(value, dict) else [value]) if isinstance(text, str)]


def _default(value: Any) -> str | None:
    if isinstance(value, dict):
        found = value.get(_DEFAULT_LANGUAGE)
        return found if isinstance(found, str) else None
    return as_text(value) if isinstance(value, str) else None


def _languages(old: Any, text: str) -> dict[str, str]:
    """A text in all its languages. Those that only repeated the default one follow it."""
    languages = dict(old) if isinstance(old, dict) else {}
    default = languages.pop(_DEFAULT_LANGUAGE, None)
    rest = {language: text if said == default else said for language, said in languages.items()}
    return {_DEFAULT_LANGUAGE: text, **rest}


def _iptc_changes(iptc: Mapping[str, Any], text: str) -> dict[str, str | None]:
    """What to set in IPTC: nothing where the photo has none.

    Its one coding holds for all its texts. An old caption goes in any case.
    """
    if not iptc:
        return {}
    coded = as_latin_1(text)
    plain = all(str(value).isascii() for value in iptc.values())
    if len(coded) > _IPTC_MAX_BYTES:
        return {_IPTC: None}
    if plain or iptc.get(_IPTC_CODING) == _UTF_8:
        return {_IPTC: coded, _IPTC_CODING: _UTF_8}
    return {_IPTC: text if text.isascii() else None}
