"""Where the photos get their captions: the options of `capcli caption` and `capcli apply`, as destinations of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from capcli.errors import UsageError
from capcli.inputs.paths import InputItem
from capcli.outputs.affixes import Affixes
from capcli.outputs.destinations import Destination

if TYPE_CHECKING:
    from capcli.outputs.text_edits import Wording

_XMP_NAMES = ("full", "stem")
_EXISTING = ("keep", "replace", "append", "prepend")
_FIELDS = ("description", "alt", "both")


class _Beside(TypedDict):
    """What destinations beside photos take alike."""

    dry_run: bool
    output: Path | None
    reads: Sequence[str | int]
    links: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class PhotoPlaces:
    """The options that say what is written beside photos and into them, each as the user gave it.

    Raises:
        UsageError: they do not go together.
    """

    sidecar: str | None
    write_metadata: bool
    xmp: bool
    xmp_name: str | None
    field: str | None
    max_chars: int | None
    existing: str
    separator: str | None = None
    prefix: str = ""
    suffix: str = ""
    undo: bool = False
    dry_run: bool = False
    # Photos of walked folders that links lead to, as they come; destinations look them up.
    _links: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.existing not in _EXISTING:
            raise UsageError(
                f"--existing is {self.existing}; it must be {', '.join(_EXISTING[:-1])} or {_EXISTING[-1]}"
            )
        if self.separator is not None and not self.adds:
            raise UsageError("--separator goes with --existing append or prepend")
        if self.adds and (self.write_metadata or self.xmp):
            raise UsageError(
                f"--existing {self.existing} is for sidecars alone; --write-metadata and --xmp need a run of their own"
            )
        if self.xmp_name not in (None, *_XMP_NAMES):
            raise UsageError(f"--xmp-name is {self.xmp_name}; it must be {' or '.join(_XMP_NAMES)}")
        if self.xmp_name is not None and not self.xmp:
            raise UsageError("--xmp-name goes with --xmp")
        if self.field not in (None, *_FIELDS):
            raise UsageError(f"--field is {self.field}; it must be {', '.join(_FIELDS[:-1])} or {_FIELDS[-1]}")
        if self.field is not None and not (self.write_metadata or self.xmp):
            raise UsageError("--field goes with --write-metadata or --xmp")
        if self.max_chars is not None and self.field not in ("alt", "both"):
            raise UsageError("--max-chars is for the alt text alone; it goes with --field alt or --field both")
        if self.max_chars is not None and self.max_chars < 1:
            raise UsageError(f"--max-chars is {self.max_chars}; it must be at least 1")
        if self.undo and (self._writes or self.existing != "keep"):
            raise UsageError("--undo puts back what was replaced, and writes nothing else; give it alone")
        if self.adds and self.sidecar is None:
            raise UsageError(f"--existing {self.existing} goes with --sidecar")
        if self._replaces and not self.any:
            raise UsageError(
                "--existing replace goes with --sidecar, --write-metadata or --xmp; -o FILE has --overwrite"
            )

    @property
    def any(self) -> bool:
        """Whether captions go beside the photos or into them."""
        return self._writes or self.undo

    @property
    def adds(self) -> bool:
        """Whether captions are added to what sidecars say."""
        return self.existing in ("append", "prepend")

    @property
    def replaces_texts(self) -> bool:
        """Whether texts of metadata or XMP may be replaced, for which rows are the way back."""
        return self._replaces and (self.write_metadata or self.xmp)

    @property
    def affixes(self) -> Affixes:
        """What goes around each caption.

        Raises:
            UsageError: it cannot be written.
        """
        return Affixes(self.prefix, self.suffix)

    @property
    def _writes(self) -> bool:
        return self.sidecar is not None or self.write_metadata or self.xmp

    @property
    def _replaces(self) -> bool:
        return self.existing == "replace"

    def note_links(self, item: InputItem) -> None:
        """Notes where links lead to a photo, before its caption comes."""
        if item.linked_in is not None and self.any:
            self._links[item.path] = item.linked_in

    def destinations(self, output: Path | None, reads: Sequence[str | int] = ()) -> list[Destination]:
        """Sidecars, metadata and XMP files, as asked for.

        Args:
            output: the file that the run's rows go to.
            reads: what the command reads besides photos: paths, or descriptors of open files.
        Raises:
            UsageError: no suffix for sidecars, or a text that cannot be written into them.
            DependencyError: the library that writes metadata is not installed.
        """
        photos: list[Destination] = []
        # Whose files they are, and what they must not write over, each of them asks by itself.
        beside: _Beside = {"dry_run": self.dry_run, "output": output, "reads": reads, "links": self._links}
        if self.sidecar is not None:
            from capcli.outputs.sidecars import Sidecars

            joining = None
            if self.adds:
                from capcli.outputs.joining import SEPARATOR, Joining

                joining = Joining(self.existing == "prepend", SEPARATOR if self.separator is None else self.separator)
            photos.append(
                Sidecars(self.sidecar, overwrite=self._replaces, joining=joining, affixes=self.affixes, **beside)
            )
        if self.write_metadata:
            from capcli.outputs.metadata import PhotoMetadata

            photos.append(PhotoMetadata(self._wording(output), dry_run=self.dry_run, links=self._links))
        if self.xmp:
            from capcli.outputs.xmp_sidecars import XmpSidecars

            photos.append(XmpSidecars(self._wording(output), stem=self.xmp_name == "stem", **beside))
        if self.undo:
            from capcli.outputs.undoing import UndoneMetadata, UndoneXmp

            photos.append(UndoneMetadata(dry_run=self.dry_run, links=self._links))
            photos += [UndoneXmp(stem=stem, **beside) for stem in (False, True)]
        return photos

    def _wording(self, output: Path | None) -> Wording:
        from capcli.outputs.text_edits import Wording
        from capcli.outputs.text_fields import ALT_TEXT, DESCRIPTION

        fields = {None: (DESCRIPTION,), "description": (DESCRIPTION,), "alt": (ALT_TEXT,)}
        return Wording(
            fields.get(self.field, (DESCRIPTION, ALT_TEXT)), self._replaces, self.max_chars, told=output is not None
        )
