"""The objective that a run's settings ask for, with the programs that its rewards take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from capcli.bundle.tokens import Tokenizer
from capcli.decoding.search import SearchSettings, TokenFilter
from capcli.evaluation.java import MeteorProgram, find_java
from capcli.runtime.cores import available_cores
from capcli.training.config import TrainConfig
from capcli.training.inputs.batches import BatchPlan
from capcli.training.network.caption_network import CaptionNetwork
from capcli.training.objectives.cross_entropy import CrossEntropy
from capcli.training.objectives.objective import Objective
from capcli.training.objectives.rewards import BleuReward, CiderReward, MeteorReward, Reward
from capcli.training.objectives.self_critical import SelfCritical
from capcli.training.objectives.word_presence import WordPresence

# METEOR is slower than a GPU generates captions; each of these takes 1 GB.
_METEOR_PROGRAMS = 4


def check_programs(config: TrainConfig) -> None:
    """Finds the programs that the objective will take, before anything else is done.

    Raises:
        DependencyError: METEOR is asked for and there is no Java.
    """
    if config.meteor:
        find_java()


@contextlib.contextmanager
def objective_of(
    config: TrainConfig,
    network: CaptionNetwork,
    tokenizer: Tokenizer,
    filters: Sequence[TokenFilter],
    plan: BatchPlan,
) -> Iterator[Objective]:
    """What the run's updates minimise; its programs run until the `with` is left.

    Args:
        config: the run's settings.
        network: with its word-presence head, if the run has one.
        tokenizer: the decoder's vocabulary.
        filters: what captions may not say.
        plan: the batches, whose captions rewards compare with.
    Raises:
        DependencyError: a program is not there or fails.
    """
    special = (tokenizer.pad, tokenizer.start, tokenizer.end, tokenizer.unknown)
    head = network.presence
    presence = None if head is None else WordPresence(head, config.word_presence, special)
    cross_entropy = CrossEntropy(config.label_smoothing, presence)
    if config.objective == "cross-entropy":
        yield cross_entropy
        return
    search = SearchSettings(
        beam=config.beam_samples,
        max_length=config.max_length,
        length_penalty=config.length_penalty,
        captions=config.beam_samples,
    )
    rewards: list[tuple[float, Reward]] = [(1.0, CiderReward(plan.references()))]
    if config.bleu:
        rewards.append((config.bleu, BleuReward()))
    at_once = 1
    with contextlib.ExitStack() as running:
        if config.meteor:
            java, at_once = find_java(), min(_METEOR_PROGRAMS, available_cores())
            programs = [running.enter_context(MeteorProgram(java)) for _ in range(at_once)]
            rewards.append((config.meteor, MeteorReward(programs, tokenizer.vocabulary, special)))
        yield SelfCritical(rewards, search, tokenizer, filters, cross_entropy, config.cross_entropy, at_once)
