"""What goes before and after every caption of a training set: the word that a generator is to learn, say.

Rows keep the bare caption, which is what is reviewed, applied and trained on. Knows nothing of files.
"""

from __future__ import annotations

from dataclasses import dataclass

from capcli.errors import UsageError

# What a row that holds them, each character in up to four bytes, has room for.
LONGEST = 4000
BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class Affixes:
    """A prefix and a suffix, as they are to stand: nothing is put between them and the caption.

    Raises:
        UsageError: one of them is too long, or not UTF-8.
    """

    prefix: str = ""
    suffix: str = ""

    def __post_init__(self) -> None:
        check_text("--prefix", self.prefix)
        check_text("--suffix", self.suffix)

    def __bool__(self) -> bool:
        return bool(self.prefix or self.suffix)

    def around(self, caption: str) -> str:
        """One line: the caption between prefix and suffix, with single spaces and none around it."""
        return f"{_single_spaces(self.prefix)}{_single_spaces(caption).strip()}{_single_spaces(self.suffix)}".strip()

    def bare(self, text: str) -> str:
        """The caption of a text that `around` has made; any other text as it is."""
        start, end = _single_spaces(self.prefix).lstrip(), _single_spaces(self.suffix).rstrip()
        is_around = text.startswith(start) and text.endswith(end) and len(text) >= len(start) + len(end)
        return text[len(start) : len(text) - len(end)] if is_around else text


def check_text(option: str, text: str) -> None:
    """Refuses what cannot be written to a text file, or read back from a row.

    Args:
        option: what the user gave it as.
    Raises:
        UsageError: it is refused.
    """
    if len(text) > LONGEST:
        raise UsageError(f"{option} has {len(text)} characters; {LONGEST} are the most")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"{option} is not UTF-8") from error


def _single_spaces(text: str) -> str:
    """A text with a space for each run of white space, and of marks that only the beginning of a file may have."""
    words = " ".join(text.replace(BYTE_ORDER_MARK, " ").split())
    if not words:
        return " " if text else ""
    before = " " if not text.startswith(words[0]) else ""
    return before + words + ("" if text.endswith(words[-1]) else " ")
