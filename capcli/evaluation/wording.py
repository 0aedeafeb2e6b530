"""How a model words its captions beside how people word theirs: lengths, words, habits, repetitions.

Takes texts as tokens with spaces between, as the scorers' tokeniser makes them. Knows nothing of images, scores or
models.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_PHRASE_WORDS = 4
_REPEATED_CAPTIONS = 10
_PHRASES = 20
_WORDS = 60
# A G2 of 6.63 is what chance alone reaches once in a hundred words (chi-squared, one degree of freedom).
_NOTABLE = 6.63

# Words that carry grammar rather than content, as the Penn Treebank splits them.
_DETERMINERS = (
    "a an the this that these those some any each every both all another other its his her their our my your no"
)
_PREPOSITIONS = """about above across after against along among around as at away back before behind below beneath
    beside between by down during for from in inside into near next of off on onto out outside over past through to
    toward towards under up upon via while with within without"""
_CONJUNCTIONS = "and but nor or so than then if because who whom whose which what where when how"
_PRONOUNS = "he him she it they them we us me i you there here one ones himself herself itself themselves"
_AUXILIARIES = """am is are was were be been being has have had having do does did can could may might must shall should
    will would not n't 's 're 've 'll 'd 'm"""
FUNCTION_WORDS = frozenset(" ".join((_DETERMINERS, _PREPOSITIONS, _CONJUNCTIONS, _PRONOUNS, _AUXILIARIES)).split())
# Some of them end whole sentences too: a man sits down, people walk by, a dog follows her.
_ENDINGS = """about across along around away back before behind below beneath by down inside near off out outside over
    past through under up this that some any each both all another other her"""
_LEFT_OPEN = FUNCTION_WORDS - set(f"{_ENDINGS} {_PRONOUNS}".split()) | {"he", "she", "they", "we", "i"}


@dataclass(frozen=True)
class LengthCount:
    """How many captions and how many references have `length` words."""

    length: int
    captions: int
    references: int


@dataclass(frozen=True)
class Usage:
    """How many captions and how many references hold a word or phrase, each counted once however often it does.

    `ratio` is the captions' share by the references'; None where no reference holds it.
    """

    text: str
    captions: int
    references: int
    ratio: float | None


@dataclass(frozen=True)
class Repetition:
    """A whole caption that was made for several images."""

    text: str
    count: int


@dataclass(frozen=True)
class TextStatistics:
    """A body of texts in numbers.

    `distinct` texts and `distinct_words`; how many `repeat_word` (a content word twice), `end_in_function_word`
    that calls for another ("a man on a"), or are `empty`.
    """

    texts: int
    words: int
    distinct: int
    distinct_words: int
    repeat_word: int
    end_in_function_word: int
    empty: int


@dataclass(frozen=True)
class Wording:
    """Captions beside references.

    `frequent`: the captions' commonest words; `over_used` and `under_used`: words whose shares differ by more than
    chance explains, the surest first; `phrases`: four words in a row that several captions hold.
    """

    captions: TextStatistics
    references: TextStatistics
    lengths: tuple[LengthCount, ...]
    frequent: tuple[Usage, ...]
    over_used: tuple[Usage, ...]
    under_used: tuple[Usage, ...]
    repeated: tuple[Repetition, ...]
    phrases: tuple[Usage, ...]


def compare_wording(captions: Sequence[str], references: Sequence[str]) -> Wording:
    """Compares the captions of a model with those of people.

    Args:
        captions: tokens with spaces between, one text an image.
        references: the same for all images together.
    """
    caption_words, reference_words = ([text.split() for text in texts] for texts in (captions, references))
    word_uses = _Uses.count(
        map(set, caption_words), map(set, reference_words), len(caption_words), len(reference_words)
    )
    phrase_uses = _Uses.count(
        map(_phrases, caption_words), map(_phrases, reference_words), len(caption_words), len(reference_words)
    )
    notable = sorted(
        (word for word in word_uses.all_texts() if word_uses.surprise(word) > _NOTABLE),
        key=lambda word: (-word_uses.surprise(word), word),
    )
    whole = _commonest(Counter(" ".join(words) for words in caption_words if words))
    return Wording(
        captions=_habits(caption_words),
        references=_habits(reference_words),
        lengths=_lengths(caption_words, reference_words),
        frequent=tuple(word_uses.usage(word) for word, _ in _commonest(word_uses.in_captions)[:_WORDS]),
        over_used=tuple(word_uses.usage(word) for word in notable if word_uses.excess(word) > 0)[:_WORDS],
        under_used=tuple(word_uses.usage(word) for word in notable if word_uses.excess(word) < 0)[:_WORDS],
        repeated=tuple(Repetition(text, count) for text, count in whole[:_REPEATED_CAPTIONS] if count > 1),
        phrases=tuple(
            phrase_uses.usage(phrase) for phrase, count in _commonest(phrase_uses.in_captions)[:_PHRASES] if count > 1
        ),
    )


@dataclass(frozen=True)
class _Uses:
    """In how many captions and references each word or phrase is."""

    in_captions: Counter[str]
    in_references: Counter[str]
    captions: int
    references: int

    @classmethod
    def count(
        cls, in_captions: Iterable[set[str]], in_references: Iterable[set[str]], captions: int, references: int
    ) -> _Uses:
        uses = cls(Counter(), Counter(), captions, references)
        for counter, texts in ((uses.in_captions, in_captions), (uses.in_references, in_references)):
            for text in texts:
                counter.update(text)
        return uses

    def all_texts(self) -> set[str]:
        return {*self.in_captions, *self.in_references}

    def usage(self, text: str) -> Usage:
        in_captions, in_references = self.in_captions[text], self.in_references[text]
        ratio = (in_captions / self.captions) / (in_references / self.references) if in_references else None
        return Usage(text, in_captions, in_references, ratio)

    def excess(self, text: str) -> float:
        """By how much the captions' share is above the references'."""
        return self.in_captions[text] / self.captions - self.in_references[text] / self.references

    def surprise(self, text: str) -> float:
        """Log-likelihood ratio G2 of the two shares (Dunning, 1993, Computational Linguistics 19(1)): how surely
        they differ, where a ratio alone would put the rarest words first."""
        in_captions, in_references = self.in_captions[text], self.in_references[text]
        held = (in_captions + in_references) / (self.captions + self.references)
        cells = (
            (in_captions, self.captions * held),
            (in_references, self.references * held),
            (self.captions - in_captions, self.captions * (1 - held)),
            (self.references - in_references, self.references * (1 - held)),
        )
        return 2 * sum(seen * math.log(seen / expected) for seen, expected in cells if seen)


def _commonest(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _phrases(words: Sequence[str]) -> set[str]:
    return {" ".join(words[start : start + _PHRASE_WORDS]) for start in range(len(words) - _PHRASE_WORDS + 1)}


def _lengths(
    caption_words: Sequence[Sequence[str]], reference_words: Sequence[Sequence[str]]
) -> tuple[LengthCount, ...]:
    captions, references = Counter(map(len, caption_words)), Counter(map(len, reference_words))
    return tuple(LengthCount(n, captions[n], references[n]) for n in sorted({*captions, *references}))


def _habits(texts: Sequence[Sequence[str]]) -> TextStatistics:
    return TextStatistics(
        texts=len(texts),
        words=sum(map(len, texts)),
        distinct=len({tuple(words) for words in texts}),
        distinct_words=len({word for words in texts for word in words}),
        repeat_word=sum(map(_repeats_word, texts)),
        end_in_function_word=sum(bool(words) and words[-1] in _LEFT_OPEN for words in texts),
        empty=sum(not words for words in texts),
    )


def _repeats_word(words: Sequence[str]) -> bool:
    content = [word for word in words if word not in FUNCTION_WORDS]
    return len(content) > len(set(content))
