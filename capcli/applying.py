"""One run that takes captions from a file to the photos: the same destinations as a captioning run, and no model.

    run = ApplyingRun(Destinations(photos=[Sidecars(".txt")]))
    report = run.run(photos_of(GivenRows(Path("captions.csv")), below="photos"))

Knows nothing of terminals, signals, exit codes or standard output.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from capcli.errors import ImageError
from capcli.inputs.paths import InputItem
from capcli.inputs.photo_files import check_photo
from capcli.outputs.destinations import Destinations
from capcli.outputs.rows import Row
from capcli.outputs.spared import leads_out
from capcli.run_report import Observer, Report, Tally

_NO_FILE = "is an image that came on standard input, which has no file"


@dataclass(frozen=True)
class GivenCaption:
    """A caption, and the photo that it is for: `item.error` where that cannot be written beside or into."""

    item: InputItem
    row: Row


def photos_of(rows: Iterable[Row], below: str = "") -> Iterator[GivenCaption]:
    """Finds the photo of each row.

    Args:
        rows: with the paths of photos.
        below: the folder in which relative paths begin; "" is the current one. It may also be one of the folders that
            the paths name, moved or seen from elsewhere: how many lead to it, the first photo that is found decides for
            all, so that no photo is mistaken for another of the same name. A symbolic link below it, or one in an
            absolute path's last folder, is not to be followed out of it: a file's author need not know of it.
    """
    moved = _Moved(below)
    for row in rows:
        path = row.path if row.path == "-" else moved.place_of(row.path)
        yield GivenCaption(_item(path, _begins_in(row.path, path, below)), replace(row, path=path))


class _Moved:
    """Where paths lead to from a folder that may be one of those they name."""

    def __init__(self, below: str) -> None:
        self._below = below
        # How many folders at the start of relative and of absolute paths are left out.
        self._left_out: dict[bool, int] = {}

    def place_of(self, path: str) -> str:
        plain = os.path.join(self._below, path)
        if not self._below or os.pardir in path.split(os.sep) or os.path.exists(plain):
            return plain
        absolute, parts = os.path.isabs(path), path.strip(os.sep).split(os.sep)
        known = self._left_out.get(absolute)
        for count in range(1, len(parts)) if known is None else [known]:
            place = os.path.join(self._below, *parts[count:])
            if os.path.exists(place):
                self._left_out[absolute] = count
                return place
        return plain


def _item(path: str, folder: str) -> InputItem:
    if path == "-":
        return InputItem(path, error=_NO_FILE)
    try:
        check_photo(path)
        return InputItem(path, from_folder=True, linked_in=folder if leads_out(path, folder) else None)
    except ImageError as error:
        return InputItem(path, error=str(error))


def _begins_in(given: str, path: str, below: str) -> str:
    """The folder out of which no link is to lead, of a path as it was given and found."""
    is_below = not os.path.isabs(given) or (below != "" and path != given)
    if os.pardir in given.split(os.sep) or not is_below:
        return os.path.dirname(path) or os.curdir
    return below or os.curdir


class ApplyingRun:
    """Delivers captions that are there already; made for one run.

    Args:
        destinations: where they go; opened and closed by the run.
        observer: told of each photo as soon as its caption is delivered.
    """

    def __init__(self, destinations: Destinations, observer: Observer | None = None) -> None:
        self._destinations = destinations
        self._observer = observer or Observer()
        self._tally = Tally(self._observer)
        self._stopped = self._delivering = self._found_any = False

    def run(self, given: Iterable[GivenCaption]) -> Report:
        """Delivers every caption, one after the other.

        Args:
            given: taken as they are needed.
        Raises:
            UsageError: a destination refuses to be written.
            OutputError: the rows cannot be written. What was delivered before stays.
        """
        self._delivering = True
        try:
            with self._destinations.opened():
                self._observer.opened()
                self._observer.loaded()
                for each in given:
                    if self._stopped:
                        break
                    self._found_any = True
                    self._deliver(each)
                self._tally.tell(self._destinations.news() + self._destinations.closing_news())
        finally:
            self._delivering = False
        return self.report

    def stop(self) -> bool:
        """Takes no further caption; the one on its way is delivered. May be called from a signal handler.

        Returns:
            Whether something is on its way, and this was the first call.
        """
        finishing = self._delivering and not self._stopped
        self._stopped = True
        return finishing

    @property
    def report(self) -> Report:
        """What has become of the captions so far."""
        return self._tally.report(
            kept_failures=self._destinations.kept_failures, stopped=self._stopped, found_any=self._found_any
        )

    def _deliver(self, given: GivenCaption) -> None:
        path = given.item.path
        if self._destinations.lacks_row(path):
            self._tally.count(path, self._destinations.deliver([replace(given.row, error=given.item.error)]))
        else:
            self._tally.skip(path)
        self._tally.tell(self._destinations.news())
