"""Options that `capcli caption` and `capcli ray` have alike: how a caption is searched for and said, and on what."""

from __future__ import annotations

from typing import Annotated

import typer

OUTPUT, SEARCH, SPEED = "Output", "Search", "Model and speed"

RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="With --resume: try the photos that failed again.", rich_help_panel=OUTPUT),
]
Captions = Annotated[int, typer.Option(help="Captions for each image, best first.", rich_help_panel=OUTPUT)]
Raw = Annotated[bool, typer.Option("--raw", help="Bare words: lower case, no full stop.", rich_help_panel=OUTPUT)]
Beam = Annotated[
    int | None,
    typer.Option(help="Width of the beam search; 1 is greedy search. Default: the model's.", rich_help_panel=SEARCH),
]
MaxLength = Annotated[
    int | None, typer.Option(help="Longest caption, in words. Default: the model's.", rich_help_panel=SEARCH)
]
LengthPenalty = Annotated[
    float | None,
    typer.Option(help="0 favours short captions, 1 long ones. Default: the model's.", rich_help_panel=SEARCH),
]
MirrorAverage = Annotated[
    bool,
    typer.Option(
        "--mirror-average",
        help="Caption the mean of each photo and its mirror image: somewhat better, for nearly twice the time.",
        rich_help_panel=SEARCH,
    ),
]
Provider = Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=SPEED)]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Images captioned together. Default: 16.", rich_help_panel=SPEED),
]
