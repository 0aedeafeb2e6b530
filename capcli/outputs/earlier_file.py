"""The file that rows go to, as an earlier run has left it: what of it is done already. Reads it, and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from capcli.errors import OutputError, UsageError
from capcli.outputs.earlier_rows import EarlierRows
from capcli.outputs.files import cannot_be_written
from capcli.outputs.records import RecordError
from capcli.outputs.rows import LONGEST_RECORD, Row, RowFormat, format_as_in


class Existing(Enum):
    """What to do with a file that is there already."""

    REFUSE = "refuse"
    REPLACE = "replace"
    RESUME = "resume"


class EarlierFile:
    """A file of rows that is to be written, or gone on with.

    Args:
        path: the file.
        rows: how rows become bytes.
        existing: what is to be done with a file that is there already.
        retry_failed: take paths whose row is an error as not done.
        captions: rows a path has; a last path with fewer was cut off and is not done.
    Raises:
        UsageError: the file exists, or the one to go on with was not written by capcli in this format, or ends as no
            kill leaves it.
        OutputError: it cannot be written, or another run writes it.
    """

    def __init__(
        self,
        path: Path,
        rows: RowFormat,
        *,
        existing: Existing = Existing.REFUSE,
        retry_failed: bool = False,
        captions: int = 1,
    ) -> None:
        self._path = path
        self._rows = rows
        try:
            if path.is_dir():
                raise OutputError(f"{path}: is a folder; name a file to write to")
            self._existed = path.exists()
        except OSError as error:  # a folder that may not be looked into, a name that is too long
            raise cannot_be_written(path, error) from error
        if existing is Existing.REFUSE and (self._existed or path.is_symlink()):
            raise UsageError(exists_already(path))
        resumes = existing is Existing.RESUME and self._existed
        if resumes and not path.is_file():
            raise UsageError(f"{path}: is no regular file; --resume needs one")
        self._take_hold()
        try:
            if resumes:
                with path.open("rb") as file:
                    self._rows = format_as_in(file.readline(LONGEST_RECORD), rows)
            self._earlier = EarlierRows(
                path if resumes else None, self._rows, retry_failed=retry_failed, captions=captions
            )
        except RecordError as error:
            self._let_go()
            raise UsageError(self._refusal(str(error))) from error
        except OSError as error:
            self._let_go()
            raise cannot_be_written(path, error) from error
        except BaseException:
            self._let_go()
            raise

    def _take_hold(self) -> None:
        """Keeps other runs out while the file is read, and as long as it is written. Here nobody is kept out."""

    def _let_go(self) -> None:
        """Ends what `_take_hold` has begun."""

    @property
    def columns(self) -> Sequence[str]:
        """What its rows hold: a resumed file of an earlier version keeps its own."""
        return self._rows.columns

    @property
    def kept(self) -> int:
        """Paths that the resumed file already answers, failed ones included."""
        return self._earlier.kept

    @property
    def kept_failures(self) -> int:
        """Paths whose row in the resumed file is an error that no row of this run replaces."""
        return self._earlier.failures

    @property
    def notes(self) -> list[str]:
        """What of the resumed file is not gone on with as it was, in lines for the user."""
        return [f"{self._path}: {note}" for note in self._earlier.notes]

    def claim(self, path: str) -> bool:
        """Whether a path is still to be captioned; True once for each path, however it is spelled."""
        return self._earlier.claim(path)

    def has_captions(self, path: str) -> bool:
        """Whether the resumed file holds captions of a path, other than of a failure that is kept."""
        return self._earlier.has_captions(path)

    def captions_of(self, path: str) -> list[Row]:
        """The rows of a path that `has_captions`, best first.

        Raises:
            OutputError: the file cannot be read any more.
        """
        with self._readable():
            return self._earlier.rows_of(path)

    def _outdate(self, path: str) -> None:
        """Forgets the rows that the file holds of a path.

        Raises:
            OutputError: the file cannot be read any more, or is another one by now.
        """
        with self._readable():
            self._earlier.outdate(path)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_be_written(self._path, error) from error
        except RecordError as error:
            raise OutputError(f"{self._path}: was changed by another program meanwhile: {error}") from error

    def _refusal(self, reason: str) -> str:
        return (
            f"{self._path}: cannot be gone on with: {reason}; mend that line, choose another file, or --overwrite to "
            "replace it"
        )


def exists_already(path: Path) -> str:
    """What to say of a file that is neither to be replaced nor gone on with."""
    return f"{path}: exists; use --resume to go on with it, --overwrite to replace it, or choose another file"
