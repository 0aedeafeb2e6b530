"""Fits how agreement with references tells right captions from others, for `capcli.evaluation.rightness`.

    python models/recipe/rightness.py ../shared/data --write

reads the verdicts in DATA/judged/judged.csv and the references of the three sets, prints how well held-out verdicts are
told (five folds by photo), and with --write puts the weights of all into capcli/evaluation/rightness.json.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import capcli.evaluation.rightness as rightness
from capcli.dataset.captions import read_captions
from capcli.evaluation.logistic import Logistic, fit_logistic
from capcli.evaluation.rightness import MEASURES, measures

SETS = ("flickr8k", "scenes", "wide")
RIDGE = 0.01
FOLDS = 5


@dataclass(frozen=True)
class Verdict:
    """What a person said of a caption, "right", "partly" or "wrong"; `references` are the photo's."""

    data_set: str
    image: str
    caption: str
    verdict: str
    references: tuple[str, ...]


def read_references(data: Path) -> dict[tuple[str, str], tuple[str, ...]]:
    """What people wrote of each photo, by data set and name."""
    found = {}
    for name in SETS:
        images, _ = read_captions(data / name / "Images", data / name / "captions.txt")
        found |= {(name, image.path.name): image.captions for image in images}
    return found


def read_verdicts(data: Path) -> list[Verdict]:
    references = read_references(data)
    with (data / "judged" / "judged.csv").open(encoding="utf-8", newline="") as file:
        return [
            Verdict(row["set"], row["image"], row["caption"], row["verdict"], found)
            for row in csv.DictReader(file)
            if (found := references.get((row["set"], row["image"])))
        ]


def fit(verdicts: list[Verdict], seed: int = 0) -> Logistic:
    """Weights of the measures. Each caption counts with all its references and with few, so that any number will do."""
    generator = np.random.default_rng(seed)
    rows, labels = [], []
    for verdict in verdicts:
        for count in range(1, len(verdict.references) + 1):
            some = generator.permutation(len(verdict.references))[:count]
            rows.append(measures(verdict.caption, [verdict.references[place] for place in some]))
            labels.append(float(verdict.verdict == "right"))
    return fit_logistic(np.array(rows), np.array(labels), ridge=RIDGE)


def folds_of(verdicts: list[Verdict]) -> np.ndarray:
    """The fold of each verdict: int [N]."""
    return np.random.default_rng(0).permutation(len(verdicts)) % FOLDS


def auroc(scores: np.ndarray, cases: np.ndarray) -> float:
    """The chance that a case scores above another, ties by half."""
    ranks = np.empty(len(scores))
    values, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = int(cases.sum())
    return float((ranks[cases].sum() - positive * (positive + 1) / 2) / (positive * (len(values[inverse]) - positive)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    verdicts = read_verdicts(arguments.data)
    right = np.array([verdict.verdict == "right" for verdict in verdicts])
    wrong = np.array([verdict.verdict == "wrong" for verdict in verdicts])
    folds, chances = folds_of(verdicts), {count: np.zeros(len(verdicts)) for count in (1, 2, 5)}
    for fold in range(FOLDS):
        fitted = fit([verdict for verdict, its in zip(verdicts, folds, strict=True) if its != fold])
        for count, values in chances.items():
            rows = [
                measures(verdict.caption, verdict.references[:count])
                for verdict, its in zip(verdicts, folds, strict=True)
                if its == fold
            ]
            values[folds == fold] = fitted(np.array(rows))
    for count, values in chances.items():
        print(
            f"{len(verdicts)} verdicts, {count} references: AUROC right {auroc(values, right):.3f}, "
            f"wrong {auroc(-values, wrong):.3f}"
        )
    if arguments.write:
        fitted = fit(verdicts)
        table = {
            name: {"weight": round(weight, 5), "mean": round(mean, 5), "scale": round(scale, 5)}
            for name, weight, mean, scale in zip(MEASURES, fitted.weights, fitted.means, fitted.scales, strict=True)
        }
        values = {"verdicts": len(verdicts), "intercept": round(fitted.intercept, 5), "measures": table}
        target = Path(rightness.__file__).with_name(rightness.WEIGHTS)
        target.write_text(json.dumps(values, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
