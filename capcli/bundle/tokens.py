"""Text <-> token ids, over the `tokenizers` library, and ids -> a sentence a person would write.

Tokens are lower-cased words without punctuation; "'s" is a token of its own, as in the Penn Treebank. How tokens
become a sentence (capital, full stop, words that keep their capitals) is decided here and nowhere else. Knows
nothing of models or bundles.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as WordTokenizer
from tokenizers.models import WordLevel

from capcli.errors import BundleError, DataError

PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unk>"
SPECIAL = (PAD, START, END, UNKNOWN)
# Every id has its text in a list, whether a token has that id or not.
_MOST_TOKENS = 1_000_000

# A word may hold inner apostrophes and hyphens (don't, t-shirt); a possessive 's stands alone.
_WORD = r"'s(?!\p{L})|[\p{L}\p{N}]\p{M}*(?:(?!'s(?!\p{L}))(?:['\-.](?=[\p{L}\p{N}]))?[\p{L}\p{N}]\p{M}*)*"


class Tokenizer:
    """A word vocabulary with four special tokens.

    Args:
        words: a `tokenizers` tokenizer whose vocabulary holds the special tokens.
        source: what to call it in error messages.
    Raises:
        BundleError: a special token is missing.
    """

    def __init__(self, words: WordTokenizer, source: str = "tokenizer") -> None:
        self._words = words
        vocabulary: dict[str, int] = words.get_vocab()
        missing = [token for token in SPECIAL if token not in vocabulary]
        if missing:
            raise BundleError(f"{source}: the vocabulary has no {', '.join(missing)}")
        if max(vocabulary.values()) >= _MOST_TOKENS:
            raise BundleError(f"{source}: the vocabulary has ids of {_MOST_TOKENS} and more")
        self.pad, self.start, self.end, self.unknown = (vocabulary[token] for token in SPECIAL)
        self._text = [""] * (max(vocabulary.values()) + 1)
        for token, number in vocabulary.items():
            self._text[number] = token

    def __len__(self) -> int:
        """Number of token ids; the decoder scores this many."""
        return len(self._text)

    @classmethod
    def learn(cls, captions: Iterable[str], min_count: int) -> Tokenizer:
        """Builds a vocabulary of the words seen at least `min_count` times, the most frequent first.

        Raises:
            DataError: no word is that frequent.
        """
        empty = _word_tokenizer({token: number for number, token in enumerate(SPECIAL)})
        kept = _frequent(empty, captions, min_count)
        if not kept:
            raise DataError(f"no word occurs {min_count} times in the training captions; lower --min-count")
        return cls(_word_tokenizer({token: number for number, token in enumerate((*SPECIAL, *kept))}))

    def extended(self, captions: Iterable[str], min_count: int) -> Tokenizer:
        """This vocabulary, its ids as they are, and after them the words it lacks, as `learn` would choose them."""
        vocabulary = dict(self._words.get_vocab())
        for word in _frequent(self._words, captions, min_count):
            vocabulary.setdefault(word, len(vocabulary))
        return Tokenizer(_word_tokenizer(vocabulary))

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Reads a tokenizer.json.

        Raises:
            BundleError: the file is missing or not a tokenizer.
        """
        try:
            text = path.read_text("utf-8")
            _check_kind(json.loads(text))
            return cls(WordTokenizer.from_str(text), str(path))
        except BundleError:
            raise
        except Exception as error:  # the library raises plain Exception for malformed files
            raise BundleError(f"{path}: not a tokenizer ({error})") from error

    def save(self, path: Path) -> None:
        path.write_text(self._words.to_str(pretty=False), "utf-8")

    def encode(self, text: str) -> list[int]:
        """Ids of the words of a caption, unknown words included, without start and end."""
        return list(self._words.encode(text, add_special_tokens=False).ids)

    def token(self, number: int) -> str:
        """The token with this id."""
        return self._text[number]

    def tokens(self, numbers: Sequence[int]) -> tuple[str, ...]:
        return tuple(self._text[number] for number in numbers)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every token, in the order of the ids."""
        return tuple(self._text)

    def id_of(self, token: str) -> int | None:
        """The id of a token, None if the vocabulary lacks it."""
        number: int | None = self._words.token_to_id(token)
        return number


def raw_text(tokens: Sequence[str]) -> str:
    """Tokens as the decoder said them: lower case, spaces between, no punctuation."""
    return " ".join(tokens)


def sentence(tokens: Sequence[str], casing: Mapping[str, str] | None = None) -> str:
    """Tokens as a person would write alt text: a capital first, a full stop last.

    Args:
        tokens: words of one caption.
        casing: words that keep capitals inside a sentence ("tv": "TV"), learnt from the training captions.
    """
    words = [(casing or {}).get(token, token) for token in tokens]
    text = " ".join(words).replace(" 's", "'s").strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + "."


def _frequent(words: WordTokenizer, captions: Iterable[str], min_count: int) -> list[str]:
    """The words that captions hold at least `min_count` times, the most frequent first."""
    counts: Counter[str] = Counter()
    for caption in captions:
        counts.update(_pieces(words, caption))
    return sorted((word for word, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w))


def _pieces(words: WordTokenizer, text: str) -> list[str]:
    normalised = words.normalizer.normalize_str(text)
    return [piece for piece, _ in words.pre_tokenizer.pre_tokenize_str(normalised)]


def _check_kind(values: Any) -> None:
    """A vocabulary of words is asked for; and the library panics at a damaged `Precompiled`, which words do without."""
    kind = values["model"]["type"]
    if kind != "WordLevel":
        raise ValueError(f"its tokens are not words: {kind!r}, expected 'WordLevel'")
    waiting = [values.get("normalizer")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.get("type") == "Precompiled":
                raise ValueError("a precompiled normalizer, which words do without")
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _word_tokenizer(vocabulary: dict[str, int]) -> Any:
    words = WordTokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    words.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace("’", "'"), normalizers.Lowercase()])
    # "removed" with invert keeps what matches and drops the rest: spaces and punctuation.
    words.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    return words
