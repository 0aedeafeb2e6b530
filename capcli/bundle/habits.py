"""How people write, learnt from the training captions and kept with the model.

Two habits: which words keep a capital inside a sentence, and which words are repeated in one. Small models say things
twice ("a hat and a hat", "a white and white dog"); people repeat few words, and seldom close together. Knows nothing
of models or bundles.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# A spelling with capitals in less than this share of a word's occurrences, lower-case captions included, is no rule.
_RARE = 0.05
_TEXT_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")


@dataclass(frozen=True)
class Habits:
    """How the writers of the training captions write.

    `casing`: words that keep capitals inside a sentence ("tv": "TV"). `returns`: words that may be repeated, each with
    the smallest distance at which it may: 3 for "a" in "a man and a dog". Words that are not in it are said once.
    Empty where nothing is known: then every word may be repeated.
    """

    casing: Mapping[str, str] = field(default_factory=dict)
    returns: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {"casing": dict(self.casing), "returns": dict(self.returns)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Habits:
        """Reads what `as_dict` gave; a habit that is missing is empty.

        Raises:
            ValueError: a value is of the wrong type.
        """
        casing, returns = values.get("casing", {}), values.get("returns", {})
        if not isinstance(casing, dict) or not all(isinstance(form, str) for form in casing.values()):
            raise ValueError("casing should hold a text for each word")
        if not isinstance(returns, dict) or not all(type(gap) is int and gap > 0 for gap in returns.values()):
            raise ValueError("returns should hold a whole number above 0 for each word")
        return cls(dict(casing), dict(returns))


def learn_habits(captions: Sequence[str], words_of: Callable[[str], Sequence[str]]) -> Habits:
    """Learns both habits.

    Args:
        captions: the training captions as people wrote them.
        words_of: gives a caption's words as the model says them.
    """
    return Habits(learn_casing(captions), learn_returns(words_of(caption) for caption in captions))


def learn_casing(captions: Iterable[str], min_count: int = 5, share: float = 0.6) -> dict[str, str]:
    """Words that people write with capitals in mid-sentence, such as TV, BMX or American.

    Captions that are lower case throughout, or written as titles, say nothing about capitals and are left out, and
    so is each caption's first word.
    """
    forms: dict[str, Counter[str]] = {}
    everywhere: Counter[str] = Counter()
    for caption in captions:
        words = [word.removesuffix("'s") for word in _TEXT_WORD.findall(caption.replace("’", "'"))]
        everywhere.update(word.lower() for word in words[1:])
        capitals = sum(word[0].isupper() for word in words)
        if caption == caption.lower() or caption == caption.upper() or capitals > max(2, len(words) // 2):
            continue
        for word in words[1:]:
            forms.setdefault(word.lower(), Counter())[word] += 1
    casing = {}
    for lower, seen in sorted(forms.items()):
        form, count = max(seen.items(), key=lambda item: (item[1], item[0]))
        # A common word is not written with a capital for being part of a name now and then (Domino's Pizza).
        common = count < _RARE * everywhere[lower]
        if form != lower and count >= min_count and count >= share * seen.total() and not common:
            casing[lower] = form
    return casing


def learn_returns(captions: Iterable[Sequence[str]], share: float = 0.02) -> dict[str, int]:
    """Words that people repeat within a caption, each with the smallest distance in words at which they do.

    A word may be repeated at distance `gap` if at least `share` of the captions that hold it repeat it there or closer.

    Args:
        captions: each caption's words.
        share: lower values let more words be repeated.
    """
    holding: Counter[str] = Counter()
    returning: dict[str, Counter[int]] = {}
    for words in captions:
        last: dict[str, int] = {}
        nearest: dict[str, int] = {}
        for place, word in enumerate(words):
            if word in last:
                nearest[word] = min(nearest.get(word, place), place - last[word])
            last[word] = place
        holding.update(last.keys())
        for word, gap in nearest.items():
            returning.setdefault(word, Counter())[gap] += 1
    found = {}
    for word, gaps in sorted(returning.items()):
        seen = 0
        for gap, count in sorted(gaps.items()):
            seen += count
            if seen >= share * holding[word]:
                found[word] = gap
                break
    return found
