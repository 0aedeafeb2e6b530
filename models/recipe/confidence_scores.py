"""How well a confidence tells right captions: five folds by photo, on captions that were judged by looking.

    git worktree add /tmp/judged 192445c
    python models/recipe/matching.py ../shared/data /tmp/judged/models/default PROGRESS
    python models/recipe/confidence_scores.py ../shared/data /tmp/judged/models/default SIGNALS

The verdicts are on captions of the bundle of 192445c. A photo's verdict, references and signals stay out of both steps
for its fold; the matching score is learnt on training photos alone. Beside it, fitted and measured alike, the mean
log-probability alone, and all signals of the words without the matching score. SIGNALS, a file of JSON Lines, keeps
what is measured, so that it need not be done again as long as bundle and matching score are the same.
Intervals: 95 %, by 2,000 draws of the captions, the same ones where two are compared.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from confidence import dev_photos
from rightness import FOLDS, auroc, fit, folds_of, read_verdicts

from capcli import Captioner
from capcli.bundle.bundle import Bundle, load_bundle
from capcli.dataset.captions import CaptionedImage
from capcli.decoding.signals import MATCH, SIGNALS
from capcli.evaluation.logistic import fit_logistic
from capcli.evaluation.rightness import measures
from capcli.training.confidence import weigh_signals

DRAWS = 2000
BINS = 10


def expected_calibration_error(chances: np.ndarray, right: np.ndarray) -> float:
    """The mean distance of chance and share, over ten groups of equal size."""
    groups = np.array_split(np.argsort(chances, kind="stable"), BINS)
    return float(sum(len(group) * abs(chances[group].mean() - right[group].mean()) for group in groups) / len(chances))


@dataclass(frozen=True)
class Measured:
    """What a bundle says of a dev photo, with its signals; `image` has the photo's references."""

    data_set: str
    image: CaptionedImage
    caption: str
    score: float
    signals: dict[str, float]


def measure(bundle: Bundle, data: Path, kept: Path | None) -> Iterator[Measured]:
    """Captions what the file of an earlier run lacks, and adds it there."""
    photos = dev_photos(data)
    known = {}
    of = [bundle.says, bundle.matching_fingerprint]
    if kept is not None and kept.exists():
        rows = [json.loads(line) for line in kept.read_text("utf-8").splitlines()]
        known = {tuple(row["key"]): row for row in rows if row.get("of") == of}
    todo = [(name, image) for name, image in photos if (name, image.path.name) not in known]
    if todo:
        results = Captioner(bundle, provider="cpu").stream([image.path for _, image in todo], details=True)
        for (name, image), result in zip(todo, results, strict=True):
            best = result.captions[0]
            row = {
                "of": of,
                "key": [name, image.path.name],
                "caption": best.text,
                "score": best.score,
                "signals": best.signals,
            }
            known[name, image.path.name] = row
            if kept is not None:
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    for name, image in photos:
        row = known[name, image.path.name]
        yield Measured(name, image, row["caption"], row["score"], row["signals"])


def given() -> tuple[Path, Bundle, list[Measured]]:
    """The folder of the data that the command line names, the bundle, and what that says of all dev photos, which the
    file SIGNALS keeps as long as the bundle is the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("signals", type=Path, nargs="?")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    return arguments.data, bundle, list(measure(bundle, arguments.data, arguments.signals))


def interval(measured: Callable[[np.ndarray], float], count: int) -> str:
    """What is measured on the captions of these places, with the interval that draws of `count` give it."""
    generator = np.random.default_rng(0)
    draws = [generator.integers(0, count, count) for _ in range(DRAWS)]
    low, high = np.quantile([measured(draw) for draw in draws], [0.025, 0.975])
    return f"{measured(np.arange(count)):.3f} ({low:.3f} to {high:.3f})"


def report(name: str, chances: np.ndarray, right: np.ndarray, wrong: np.ndarray, odd: np.ndarray) -> None:
    surest = np.argsort(-chances, kind="stable")
    shares = ", ".join(f"{right[surest[: round(len(surest) * share)]].mean():.2f}" for share in (0.25, 0.5, 0.75, 1))
    count = len(chances)
    told = interval(lambda draw: auroc(chances[draw], right[draw]), count)
    told_wrong = interval(lambda draw: auroc(-chances[draw], wrong[draw]), count)
    print(
        f"{name}: AUROC right {told}, wrong {told_wrong}; calibration error "
        f"{expected_calibration_error(chances, right):.3f}; right among the surest 25, 50, 75, 100 %: {shares}; odd "
        f"pictures above 0.5 and not right: {((chances > 0.5) & ~right & odd).sum()} of {odd.sum()}"
    )


def in_folds(bundle: Bundle, measured: list[Measured], verdicts: list, names: tuple[str, ...]) -> np.ndarray:
    """The chances of the judged captions, each by what was fitted without its photo.

    So is by how much steeper it is against verdicts than against references; that is printed.
    """
    right = np.array([verdict.verdict == "right" for verdict in verdicts], float)
    steepness = []
    place = {(each.data_set, each.image.path.name): number for number, each in enumerate(measured)}
    rows = np.array([place[verdict.data_set, verdict.image] for verdict in verdicts])
    agreement = np.array([measures(each.caption, each.image.captions) for each in measured])
    signals = [{name: each.signals[name] for name in names} for each in measured]
    folds, chances = folds_of(verdicts), np.zeros(len(verdicts))
    for fold in range(FOLDS):
        labels = fit([verdict for verdict, its in zip(verdicts, folds, strict=True) if its != fold])(agreement)
        held = set(rows[folds == fold].tolist())
        others = [number for number in range(len(measured)) if number not in held]
        known = [signals[number] for number in others]
        flat = weigh_signals(bundle, known, labels[others], steepness=1.0)
        logits = np.array([sum(flat.parts(signals[row]).values()) for row in rows[folds != fold]])
        against = fit_logistic(logits[:, None], right[folds != fold], ridge=1e-6)
        steepness.append(float(against.weights[0] / against.scales[0]))
        fitted = weigh_signals(bundle, known, labels[others], steepness=steepness[-1])
        chances[folds == fold] = [fitted.probability(signals[row]) for row in rows[folds == fold]]
    print(f"steeper against verdicts than against references by {np.mean(steepness):.2f}")
    return chances


def main() -> None:
    data, bundle, measured = given()
    said = {(each.data_set, each.image.path.name): each.caption for each in measured}
    every = read_verdicts(data)
    # A processor that rounds otherwise may say other things of some photos.
    verdicts = [each for each in every if said.get((each.data_set, each.image)) == each.caption]
    print(f"{len(verdicts)} of {len(every)} judged captions are said here")
    right, wrong = (np.array([each.verdict == kind for each in verdicts]) for kind in ("right", "wrong"))
    odd = np.array([each.image.startswith("C_") for each in verdicts])
    kinds = {"mean log-probability": ("mean_log_prob",), "signals of the words": SIGNALS}
    if all(MATCH in each.signals for each in measured):
        kinds["signals of the words and matching score"] = (*SIGNALS, MATCH)
    alone = None
    for name, names in kinds.items():
        chances = in_folds(bundle, measured, verdicts, names)
        report(name, chances, right, wrong, odd)
        if alone is None:
            alone = chances
            continue
        plain = alone
        print(
            "  above the mean log-probability, right: "
            + interval(
                lambda draw: auroc(chances[draw], right[draw]) - auroc(plain[draw], right[draw]),  # noqa: B023
                len(verdicts),
            )
        )


if __name__ == "__main__":
    main()
