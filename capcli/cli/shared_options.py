"""Options that `capcli caption` and `capcli ray` have alike: how a caption is searched for and said, and on what."""

from __future__ import annotations

from typing import Annotated

import typer

OUTPUT, SEARCH, PHOTOS, SPEED = "Output", "Search", "Which photos", "Model and speed"

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
Recursive = Annotated[
    bool, typer.Option("--recursive/--no-recursive", help="Go into sub-folders.", rich_help_panel=PHOTOS)
]
Include = Annotated[
    list[str] | None,
    typer.Option(help="Of folders, take only files that match this glob. Repeatable.", rich_help_panel=PHOTOS),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(help="Leave out files and folders that match this glob. Repeatable.", rich_help_panel=PHOTOS),
]
Hidden = Annotated[
    bool,
    typer.Option("--hidden", help="Take hidden files too, and enter folders like @eaDir.", rich_help_panel=PHOTOS),
]
NewerThan = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Take only photos changed since then: a date or time (2026-11-20, 2026-11-20T08:30), or 12h, 7d, 2w ago.",
        rich_help_panel=PHOTOS,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Caption at most N photos in this run; those that are done already do not count.",
        rich_help_panel=PHOTOS,
    ),
]
Null = Annotated[
    bool, typer.Option("--null", "-0", help="Paths on standard input end with NUL.", rich_help_panel=PHOTOS)
]
MaxPixels = Annotated[
    int | None,
    typer.Option(help="Refuse images with more pixels than this. Default: 200 million.", rich_help_panel=PHOTOS),
]
