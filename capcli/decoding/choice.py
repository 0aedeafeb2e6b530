"""Which of the sentences that a search found is said first: of probable ones that which is most likely right.

A beam's sentences are nearly as probable as each other; how likely each is right, which its signals say, tells them
apart. Reranking a list of the best, as in Collins and Koo, "Discriminative Reranking for Natural Language Parsing",
2005. Knows nothing of where that comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from capcli.decoding.search import Hypothesis, SearchSettings


def searched_with(settings: SearchSettings, weight: float) -> SearchSettings:
    """What to search with in order to choose: enough sentences, where there is a choice."""
    return settings if weight == 0 else replace(settings, captions=max(settings.captions, _choice(settings)))


def _choice(settings: SearchSettings) -> int:
    """How many there are to choose from. Half of the beam brings as much as all of it, and the search ends sooner: it
    took 7 % longer than for one sentence, 15 % for all of a beam of 7."""
    return (settings.beam + 1) // 2


def best_first(
    sentences: Sequence[Hypothesis], logits: Sequence[float], weight: float, settings: SearchSettings
) -> list[int]:
    """Places of the sentences in the order in which they are said.

    The most probable ones (by the ranking score), for half of the beam and as long as none is less probable than the
    greedy one, come first, in the order of ranking score plus `weight` x logit; then the others as they are. So what is
    said is never less probable than what a greedy search says.

    Args:
        sentences: of one image, best ranking score first.
        logits: of each, how likely it is right.
        weight: of the logits; 0 leaves the order as it is.
        settings: that they were ranked by.
    """
    greedy = next((place for place, sentence in enumerate(sentences) if sentence.greedy), len(sentences) - 1)

    def worth(place: int) -> float:
        sentence = sentences[place]
        return settings.ranking_score(sentence.log_prob, sentence.length) + weight * logits[place]

    among = min(greedy + 1, _choice(settings))
    # A stable sort: of equals the more probable one first.
    return [*sorted(range(among), key=worth, reverse=True), *range(among, len(sentences))]
