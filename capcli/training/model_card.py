"""A bundle's model card: the one its maker gives, or a first one from what the runs know, with a section on precision.

Knows nothing of networks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from capcli.bundle.precision import Precision
from capcli.errors import UsageError
from capcli.outputs.files import why
from capcli.training.config import TrainConfig
from capcli.training.run_folder import TrainedRun

# The section and all up to the next heading of its level.
_PRECISION = re.compile(r"^## Precision\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def read_card(path: Path) -> bytes:
    """The card that --card names.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({why(error)}); --card takes a Markdown file") from error


def export_day() -> date:
    """Today, or the day that SOURCE_DATE_EPOCH names, for bundles that are the same byte for byte.

    The variable holds seconds since 1970 (https://reproducible-builds.org/specs/source-date-epoch).

    Raises:
        UsageError: it holds something else.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return date.today()
    try:
        return datetime.fromtimestamp(int(epoch), UTC).date()
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"SOURCE_DATE_EPOCH is {epoch!r}; it must be a number of seconds since 1970") from error


def trained_on(configs: Sequence[TrainConfig]) -> tuple[str, ...]:
    """The names of the data sets of several runs, each once."""
    return tuple(dict.fromkeys(_set_name(source.images) for config in configs for source in config.data))


def model_card(trained: Sequence[TrainedRun], name: str, description: str, terms: str, day: date) -> str:
    """A first model card, in Markdown, from what the runs know; its maker completes it.

    Args:
        trained: the runs whose weights, or whose weights' mean, the bundle holds.
        name, description, terms: of the bundle; `description` may be empty.
        day: of the export.
    """
    epochs = [f"epoch {run.result['epoch']} of {run.config.epochs}" for run in trained]
    rows = "\n".join(
        f"| {_set_name(source.images)}{f', {run.path.name} alone' if len(trained) > 1 else ''} | {score} |"
        for run in trained
        for source, score in zip(run.config.data, run.result["cider"], strict=False)
    )
    origin = epochs[0] if len(trained) == 1 else f"the mean weights of {len(trained)} runs: {', '.join(epochs)}"
    sets = "\n".join(f"- {name}" for name in trained_on([run.config for run in trained]))
    return f"""# {name}

{description or "An image-captioning model made with capcli: a ResNet-50 encoder and an LSTM decoder."}

Exported {day.isoformat()} from {origin}.

## Trained on
{sets}

## Terms
{terms}

## Validation
CIDEr x 100 on the held-back images over a plain tokeniser, as training measures it. It chooses checkpoints and is not
comparable with published figures; `capcli evaluate` gives those.

| data | CIDEr |
| --- | --- |
{rows}
"""


def with_precision(card: str, precision: Precision) -> str:
    """A card whose section "Precision" says how the encoder computes; it comes last where there was none."""
    lines = [f"The encoder computes in {precision.encoder}, the decoder in float32; weights are stored as int8."]
    if precision.calibration is not None:
        data = ", ".join(precision.calibration.data)
        lines.append(f"Ranges of activations were found on {precision.calibration.images} photos of {data}.")
    if precision.agreement is not None:
        lines.append(f"Of photos captioned with both forms: {precision.agreement}.")
    section = "## Precision\n" + "\n".join(lines) + "\n"
    if _PRECISION.search(card):
        return _PRECISION.sub(lambda found: section + ("\n" if found[0].endswith("\n\n") else ""), card, count=1)
    return f"{card.rstrip()}\n\n{section}"


def _set_name(images: str) -> str:
    """A data set's name, by its folder of images."""
    path = Path(images)
    return path.parent.name if path.name.lower() == "images" and path.parent.name else path.name
