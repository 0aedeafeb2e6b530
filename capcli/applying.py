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
from capcli.outputs.rows import FORMULA, Row
from capcli.outputs.spared import leads_out
from capcli.run_report import Observer, Report, Tally

_NO_FILE = "is an image that came on standard input, which has no file"


@dataclass(frozen=True)
class GivenCaption:
    """A caption, and the photo that it is for: `item.error` where that cannot be written beside or into."""

    item: InputItem
    row: Row


def photos_of(rows: Iterable[Row], below: str = "", beside: str = "") -> Iterator[GivenCaption]:
    """Finds the photo of each row.

    Args:
        rows: with the paths of photos.
        below: the folder in which relative paths begin; "" is the current one. It may also be one of the folders that
            the paths name, moved or seen from elsewhere. A symbolic link below it, or one in an absolute path's last
            folder, is not to be followed out of it: a file's author need not know of it.
        beside: the folder of the file of captions, where relative paths may begin, too, unless `below` says where.

    Where paths lead, the first photo that is found decides for all, so that none is mistaken for another of the same
    name. So photos are not searched for in sub-folders, and never by a part of their name, as whoever only looks at
    them may do.
    """
    places = _Places(below, beside)
    for row in rows:
        path, folder = (row.path, "") if row.path == "-" else places.place_of(row.path)
        yield GivenCaption(_item(path, folder), replace(row, path=path))


class _Places:
    """Where paths lead to: from here, from a folder that may be one of those they name, or from their file's."""

    def __init__(self, below: str, beside: str) -> None:
        self._below = below
        self._beside = beside
        # The folder, and how many at the start of a path are left out, for relative and for absolute ones.
        self._known: dict[bool, tuple[str, int]] = {}

    def place_of(self, path: str) -> tuple[str, str]:
        """The photo's path, and the folder out of which no link is to lead to it."""
        plain = os.path.join(self._below, path)
        if os.pardir in path.split(os.sep):
            return plain, os.path.dirname(plain) or os.curdir
        absolute = os.path.isabs(path)
        # A spreadsheet is kept from running a name by an apostrophe before it.
        names = [path, path[1:]] if path.startswith("'") and FORMULA.match(path) else [path]
        for name in names:
            parts = name.strip(os.sep).split(os.sep)
            known = self._known.get(absolute)
            for folder, left_out in self._ways(len(parts)) if known is None else [known]:
                place = os.path.join(folder, *parts[left_out:]) if left_out else os.path.join(folder, name)
                if os.path.isfile(place):
                    self._known[absolute] = folder, left_out
                    return place, os.path.dirname(place) if absolute and not left_out else folder or os.curdir
        return plain, os.path.dirname(plain) if absolute else self._below or os.curdir

    def _ways(self, parts: int) -> Iterator[tuple[str, int]]:
        yield self._below, 0
        if self._below:
            yield from ((self._below, count) for count in range(1, parts))
        elif self._beside:
            yield self._beside, 0


def _item(path: str, folder: str) -> InputItem:
    if path == "-":
        return InputItem(path, error=_NO_FILE)
    try:
        check_photo(path)
        return InputItem(path, from_folder=True, linked_in=folder if leads_out(path, folder) else None)
    except ImageError as error:
        return InputItem(path, error=str(error))


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
                self._tally.tell(self._destinations.news())
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
