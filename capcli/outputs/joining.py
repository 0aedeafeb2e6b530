"""A text that is put after, or before, what a text file says already, once: what is there is not added again.

So a run that was killed after the file was written, and before its row, may do the photo again. Knows nothing of
captions.
"""

from __future__ import annotations

from dataclasses import dataclass

from capcli.outputs.affixes import BYTE_ORDER_MARK, check_text

SEPARATOR = ", "


@dataclass(frozen=True)
class Joining:
    """How texts are joined. `before`: the new one goes before the old one. `separator`: what stands between them.

    Raises:
        UsageError: the separator is too long, or not UTF-8.
    """

    before: bool = False
    separator: str = SEPARATOR

    def __post_init__(self) -> None:
        check_text("--separator", self.separator)

    def joined(self, old: str, new: str) -> str:
        """Both texts, or the old one as it is where it says the new one already.

        Args:
            old: what a file holds.
            new: one line, without white space around it.
        """
        # Some editors begin files with it, and it has no meaning but there.
        mark = BYTE_ORDER_MARK if old.startswith(BYTE_ORDER_MARK) else ""
        said = old.removeprefix(mark).strip()
        if not new or self._says(said, new):
            return old
        parts = [new, said] if self.before else [said, new]
        return f"{mark}{self.separator.join(part for part in parts if part)}\n"

    def _says(self, said: str, new: str) -> bool:
        """Whether a text, or a line of it, has another one between separators or ends."""
        wanted = f"{self.separator}{new}{self.separator}"
        return any(wanted in f"{self.separator}{each}{self.separator}" for each in (said, *said.splitlines()))
