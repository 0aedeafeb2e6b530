"""Where the captions of `capcli caption` go: its options, as destinations of a run, and standard output as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from capcli.cli.photo_places import PhotoPlaces
from capcli.cli.terminal import write_stdout
from capcli.errors import UsageError
from capcli.inputs.paths import InputItem
from capcli.inputs.tars import is_tar
from capcli.messages import shortened
from capcli.outputs import image_folder
from capcli.outputs.destinations import Destination
from capcli.outputs.outcomes import Outcome
from capcli.outputs.rows import FORMATS, RAW_BYTES_NOTE, Row, RowFormat, format_of, holds_raw_bytes, row_format
from capcli.outputs.spared import check_output_file, is_same_file

if TYPE_CHECKING:
    from capcli.outputs.earlier_file import EarlierFile, Existing

_STDOUT = "-"
# Its descriptor: a list of paths on it may come from a file.
STDIN = 0
_NO_PLACE_IN_TAR = "is a tar, in which there is no place for a sidecar or metadata; unpack it, or use -o FILE"
_NOT_IN_TAR = "is a tar, whose photos an image folder cannot name; unpack it"
_NO_PLACE = "an image on standard input has no place for a sidecar or metadata; save it as a file"


class Stdout(Destination):
    """Standard output: each input is answered, however often it comes, as soon as its captions are known."""

    def __init__(self, form: RowFormat) -> None:
        self._form = form
        self._started = False
        self._told_of_bytes = False
        self._news: list[str] = []

    def wants(self, path: str) -> bool:
        return True

    def put(self, rows: Sequence[Row]) -> Outcome:
        header = b"" if self._started else self._form.header()
        self._started = True
        write_stdout(header, *map(self._form.record, rows))
        # Lines of text are for programs that take names as bytes.
        if not self._told_of_bytes and self._form.name != "text" and holds_raw_bytes(self._form, rows):
            self._told_of_bytes = True
            self._news.append(f"standard output {RAW_BYTES_NOTE}")
        return Outcome(True)

    def news(self) -> list[str]:
        news, self._news = self._news, []
        return news

    @property
    def columns(self) -> Sequence[str]:
        return self._form.columns


class Rehearsal(Destination):
    """A place that writes nothing: what would be written where is a line on standard output.

    Args:
        place: made so that it only tells what it would do.
    """

    def __init__(self, place: Destination) -> None:
        self._place = place

    def wants(self, path: str) -> bool:
        return self._place.wants(path)

    def put(self, rows: Sequence[Row]) -> Outcome:
        outcome = self._place.put(rows)
        if outcome.written:
            line = row_format("text", ranked=False)
            told = replace(rows[0], path=outcome.place or rows[0].path, caption=outcome.text or rows[0].caption)
            write_stdout(line.record(told))
        return outcome


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """The options that say where captions go, each as the user gave it.

    Raises:
        UsageError: they do not go together, or name no format.
    """

    output: str | None
    format_: str | None
    as_json: bool
    spreadsheet_safe: bool
    bom: bool
    resume: bool
    retry_failed: bool
    overwrite: bool
    places: PhotoPlaces
    captions: int
    words: bool

    def __post_init__(self) -> None:
        if self.overwrite and self.file is None:
            raise UsageError(
                "--overwrite replaces an output file, named with -o FILE; "
                "sidecars and metadata are replaced with --existing replace"
            )
        if self.resume and self.file is None:
            raise UsageError("--resume goes on with an output file; name it with -o FILE")
        if self.resume and self.overwrite:
            raise UsageError("--resume keeps what --overwrite would replace; give one of them")
        if self.retry_failed and not self.resume:
            raise UsageError("--retry-failed goes with --resume")
        if self.as_json and self.format_ not in (None, "jsonl"):
            raise UsageError("--json is --format jsonl; give one format")
        if self._format != "jsonl" and self.words:
            raise UsageError(f"--words is for JSON Lines (--json), not for {self._format}")
        if self.places.affixes and self.places.sidecar is None and not self.makes_image_folder:
            raise UsageError(
                "--prefix and --suffix are for training sets: they go with --sidecar or --format imagefolder"
            )
        if self.places.adds and self.captions > 1:
            raise UsageError(f"--existing {self.places.existing} adds one caption; --captions N writes several")
        if self.makes_image_folder:
            self._check_image_folder()

    def _check_image_folder(self) -> None:
        name = image_folder.FILE
        if self.file is None or self.file.name != name:
            raise UsageError(f"--format imagefolder makes {name} in the photos' folder; name it: -o PHOTOS/{name}")
        if self.captions > 1:
            raise UsageError("--format imagefolder has one caption for each photo; --captions N asks for several")

    @property
    def makes_image_folder(self) -> bool:
        """Whether the output file belongs to the folder that it lies in, and names photos from there."""
        return self._format == image_folder.NAME

    @property
    def _format(self) -> str:
        return format_of(self.file, "jsonl" if self.as_json else self.format_, formats=(*FORMATS, image_folder.NAME))

    @property
    def file(self) -> Path | None:
        """The output file; None where rows go to standard output, named "-" or not, or nowhere."""
        return None if self.output in (None, _STDOUT) else Path(self.output or "")

    @property
    def rows_place(self) -> str | None:
        """What names the place of the rows; None where only photos get their captions."""
        return str(self.file) if self.file is not None else _STDOUT if self.to_stdout else None

    @property
    def to_stdout(self) -> bool:
        """Whether rows go to standard output: beside captions for photos only where it or a format is named."""
        named = self.output == _STDOUT or self.as_json or self.format_ is not None
        return self.file is None and (named or not self.places.any)

    def check_inputs(self, arguments: Sequence[str]) -> None:
        """Refuses an output file that is a photo or an input, and captions beside what lies in a tar.

        Args:
            arguments: the inputs as they were named; "-" is standard input, which may come from a file.
        Raises:
            UsageError: it is one.
        """
        tar = next(filter(is_tar, arguments), None) if self.places.any or self.makes_image_folder else None
        if tar is not None:
            raise UsageError(f"{shortened(tar)}: {_NO_PLACE_IN_TAR if self.places.any else _NOT_IN_TAR}")
        if self.file is not None:
            check_output_file(self.file, (STDIN if argument == "-" else argument for argument in arguments))

    def check_stdin(self) -> None:
        """Refuses to caption an image on standard input where its captions would have no place.

        Raises:
            UsageError: they would have none.
        """
        if self._needs_files:
            raise UsageError(_NO_PLACE)

    @property
    def _needs_files(self) -> bool:
        return self.places.any or self.makes_image_folder

    def checked(self, items: Iterable[InputItem]) -> Iterator[InputItem]:
        """The inputs, with what these options make an error of; notes where links lead to them.

        Raises:
            UsageError: a picture on standard input and --resume.
        """
        form = self._form(alone=False)
        folder = form if isinstance(form, image_folder.ImageFolder) else None
        for item in items:
            if item.is_nameless:
                if self.resume:
                    raise UsageError("--resume cannot know a picture on standard input: it has no name; give its path")
                # The first input has ended the command with `check_stdin`.
                yield InputItem(item.path, error=_NO_PLACE) if self._needs_files else item
            elif item.is_file and self.file is not None and is_same_file(item.path, self.file):
                yield replace(item, error="is the output file")
            elif item.is_file and folder is not None and (reason := folder.why_not(item.path)) is not None:
                yield replace(item, error=reason)
            else:
                self.places.note_links(item)
                yield item

    def rows(self, *, alone: bool) -> Destination | None:
        """The output file, standard output, or neither where only photos get their captions.

        Args:
            alone: there is one input, whose captions need no path beside them.
        Raises:
            UsageError: --spreadsheet-safe for another format.
        """
        form = self._form(alone=alone)
        if self.file is None:
            return Stdout(form) if self.to_stdout else None
        from capcli.outputs.row_file import RowFile

        return RowFile(
            self.file,
            form,
            existing=self._existing,
            retry_failed=self.retry_failed,
            captions=self.captions,
            tells_replaced=self.places.replaces_texts,
        )

    def earlier(self) -> EarlierFile | None:
        """The output file as it is, which is only read; None where rows go elsewhere.

        Raises:
            UsageError, OutputError: rows could not go there.
        """
        if self.file is None:
            return None
        from capcli.outputs.earlier_file import EarlierFile

        check_output_file(self.file)
        return EarlierFile(
            self.file,
            self._form(alone=False),
            existing=self._existing,
            retry_failed=self.retry_failed,
            captions=self.captions,
        )

    def _form(self, *, alone: bool) -> RowFormat:
        if self.file is not None and self.makes_image_folder and not (self.spreadsheet_safe or self.bom):
            return image_folder.ImageFolder(self.file, self.places.affixes)
        return row_format(
            self._format,
            ranked=self.captions > 1,
            # A file that is gone on with has its paths, or could not be gone on with.
            with_path=self.resume or not alone,
            spreadsheet_safe=self.spreadsheet_safe,
            bom=self.bom,
            words=self.words,
        )

    @property
    def _existing(self) -> Existing:
        from capcli.outputs.earlier_file import Existing

        return Existing.RESUME if self.resume else Existing.REPLACE if self.overwrite else Existing.REFUSE

    def how_to_go_on(self) -> str:
        """What to say of a run that was stopped."""
        if self.file is None:
            return "stopped; what was done so far is written"
        return how_to_go_on(str(self.file), overwrite=self.overwrite)

    def failed_before(self, count: int) -> str:
        """What to say of photos whose failure in the resumed file stays: the run that met them told why.

        Args:
            count: their number, at least 1.
        """
        return failed_before(str(self.file), count, retry_failed=self.retry_failed)


def how_to_go_on(place: str, *, overwrite: bool) -> str:
    """What to say of a run that was stopped, whose rows lie in a place from which another one goes on."""
    resume = "--resume instead of --overwrite" if overwrite else "--resume"
    return f"stopped; {shortened(place)} holds what was done so far; the same command with {resume} goes on"


def failed_before(place: str, count: int, *, retry_failed: bool) -> str:
    """What to say of `count` photos, at least 1, whose failure is in the rows that a run has gone on with."""
    photos = f"{count} photo{'' if count == 1 else 's'} in {shortened(place)} failed in an earlier run"
    if retry_failed:
        return f"{photos} and {'is' if count == 1 else 'are'} not among the inputs of this one"
    return f"{photos}; --retry-failed tries {'it' if count == 1 else 'them'} again"
