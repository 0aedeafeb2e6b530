"""The inputs of `capcli caption`: what its arguments name, and what standard input holds."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from shlex import quote

from capcli.errors import UsageError
from capcli.inputs.ages import Newer
from capcli.inputs.paths import FolderRules, InputItem, find_inputs
from capcli.inputs.tars import is_tar

_URL = re.compile(r"(?:https?|ftps?)://", re.IGNORECASE)


@dataclass(frozen=True)
class Given:
    """All inputs, and what the first of them tells about how to show their captions.

    `alone`: it is one photo that was named. `nameless`: it is the bytes of an image on standard input. `missing`: it
    is not there. `left_out` counts, by suffix, the files of folders and tars whose kind cannot be read; it grows as
    `items` are taken.
    """

    items: Iterator[InputItem]
    alone: bool
    nameless: bool
    missing: bool
    left_out: Counter[str]

    @property
    def one(self) -> bool:
        """Whether it is one photo, whose caption is waited for."""
        return self.alone or self.nameless


def given_inputs(arguments: list[str], rules: FolderRules, *, null: bool, newer: Newer | None = None) -> Given:
    """Looks for the first input, which may wait for standard input.

    Args:
        arguments: as they were typed.
        rules: what is taken from folders and tars.
        null: paths on standard input end with NUL.
        newer: takes those that are new enough; None takes all.
    """
    left_out: Counter[str] = Counter()
    items = _find(arguments, rules, null, left_out)
    if newer is not None:
        items = newer.of(items)
    first = next(items, None)
    if first is None:
        return Given(items, alone=False, nameless=False, missing=True, left_out=left_out)
    alone = arguments != ["-"] and len(arguments) == 1 and not first.from_folder
    return Given(chain([first], items), alone, first.is_nameless, first.error is not None, left_out)


def check_no_url(arguments: Sequence[str]) -> None:
    """Refuses an address, which a person may take for an input.

    Raises:
        UsageError: one is named, and no file is called so.
    """
    url = next((each for each in arguments if _URL.match(each) and not os.path.lexists(each)), None)
    if url is not None:
        raise UsageError(
            f"capcli uses no network; to caption an image on it: curl -sSfL {quote(url)} | capcli caption -"
        )


def counter(arguments: list[str], rules: FolderRules, newer: Newer | None = None) -> Callable[[], int | None]:
    """What counts the inputs, by walking folders once more; None where only reading all of them would tell.

    Standard input may hold any number, and so may a tar.
    """

    def count() -> int | None:
        if "-" in arguments or any(map(is_tar, arguments)):
            return None
        # What is left out was counted, or will be, on the first walk.
        items = _find(arguments, rules, False)
        return sum(1 for _ in (items if newer is None else newer.uncounted().of(items)))

    return count


def _find(
    arguments: list[str], rules: FolderRules, null: bool, left_out: Counter[str] | None = None
) -> Iterator[InputItem]:
    return find_inputs(
        arguments,
        rules,
        # os.read gives what is there; a buffered reader would wait for a slow producer's next lines.
        read_stdin=lambda count: os.read(sys.stdin.fileno(), count),
        nul_separated=null,
        left_out=left_out,
    )
