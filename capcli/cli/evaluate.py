"""`capcli evaluate`: official scores of a bundle's captions, or of captions made earlier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capcli.cli.terminal import answer, with_bar
from capcli.errors import DataError

if TYPE_CHECKING:
    from capcli.dataset.captions import CaptionedImage
    from capcli.evaluation import Scores
    from capcli.evaluation.predictions import Prediction
    from capcli.evaluation.report import EvaluatedImage


def evaluate(
    images: Annotated[Path, typer.Option("--images", help="Folder of images.")],
    captions: Annotated[
        Path | None, typer.Option("--captions", help="Captions people wrote. Default: NAME.txt beside each image.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="File naming the images to evaluate on; or test, val or train where the captions have split fields. "
            "Default: test there, all images elsewhere.",
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out images that are missing; otherwise they end the command.")
    ] = False,
    model: Annotated[str, typer.Option("--model", help="A bundle's name or folder.")] = "default",
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions",
            help="Captions to score instead of a bundle's: CSV, TSV, JSON Lines, or COCO results in JSON.",
        ),
    ] = None,
    beam: Annotated[
        int | None, typer.Option(help="Hypotheses kept; 1 is greedy search. Default: the bundle's.")
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="Longest caption, in words. Default: the bundle's.")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="0 likes short captions, 1 long ones. Default: the bundle's.")
    ] = None,
    provider: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    limit: Annotated[int | None, typer.Option(help="Evaluate on this many images only.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="HTML page to write: each image, its captions and its scores.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the report file.")] = False,
) -> None:
    """Score captions with BLEU, METEOR, ROUGE-L and CIDEr, as papers do (needs the eval extra and Java)."""
    from capcli.cli.terminal import say
    from capcli.dataset.evaluation_split import read_evaluation_images
    from capcli.evaluation import check_official_scorers, official_scores
    from capcli.extras import need
    from capcli.outputs.files import WholeFile

    if report is not None:
        need("pages", "capcli evaluate --report")
    read = [path for path in (captions, predictions, None if split is None else Path(split)) if path is not None]
    # Before the model captions for minutes: can the report be written, are the scorers there?
    with nullcontext() if report is None else WholeFile(report, overwrite=overwrite, inputs=read) as page:
        check_official_scorers()
        chosen = read_evaluation_images(images, captions, split, allow_missing=allow_missing)
        for line in chosen.notes:
            say(line)
        items = chosen.images[:limit]
        if predictions is not None:
            from capcli.evaluation.predictions import match_predictions, read_predictions

            # Among all images: a caption of one that is left out is not lent to its namesake.
            names = {str(item.path): item.name for item in chosen.all_images}
            said = match_predictions(read_predictions(predictions), names)
        else:
            said = _caption(items, model, provider, beam, max_length, length_penalty)
        scores = official_scores(
            {image: prediction.caption for image, prediction in said.items()},
            {str(item.path): list(item.captions) for item in items},
        )
        source = str(predictions or model)
        _print(scores, source, chosen.data, as_json)
        if page is not None:
            from capcli.evaluation.report import report_page

            page.write(report_page(scores, _evaluated(items, said), captions=source, data=chosen.data))


def _caption(
    items: list[CaptionedImage],
    model: str,
    provider: str,
    beam: int | None,
    max_length: int | None,
    length_penalty: float | None,
) -> dict[str, Prediction]:
    """What `capcli caption` says of each image."""
    from capcli.captioner import Captioner
    from capcli.evaluation.predictions import Prediction
    from capcli.opening import LANES_FOR_MANY

    captioner = Captioner(model, provider=provider, lanes=LANES_FOR_MANY)
    paths = [str(item.path) for item in items]
    results = captioner.stream(paths, beam=beam, max_length=max_length, length_penalty=length_penalty)
    said = {}
    for path, result in zip(paths, with_bar(results, "captioning", len(items)), strict=True):
        if result.error is not None:
            raise DataError(f"{path}: {result.error}; leave it out with a --split file")
        best = result.captions[0]
        said[path] = Prediction(best.text, best.score)
    return said


def _evaluated(items: list[CaptionedImage], said: dict[str, Prediction]) -> Iterator[EvaluatedImage]:
    from capcli.evaluation.report import EvaluatedImage

    for item in with_bar(items, "report", len(items)):
        key = str(item.path)
        prediction = said[key]
        yield EvaluatedImage(key, item.path, item.name, prediction.caption, prediction.score, item.captions)


def _print(scores: Scores, source: str, data: str, as_json: bool) -> None:
    if as_json:
        import json

        answer(json.dumps({"captions": source, "data": data, **scores.as_dict()}))
        return
    answer(f"{source} on {data}: {scores.images} images, {scores.tokeniser}")
    for name, value in (
        ("BLEU-1", scores.bleu_1),
        ("BLEU-2", scores.bleu_2),
        ("BLEU-3", scores.bleu_3),
        ("BLEU-4", scores.bleu_4),
        ("METEOR", scores.meteor),
        ("ROUGE-L", scores.rouge_l),
        ("CIDEr", scores.cider),
    ):
        answer(f"{name:<8}{value:6.1f}")
