"""Options that several commands have alike: how a caption is searched for and said, on what, and where it goes."""

from __future__ import annotations

from typing import Annotated

import typer

OUTPUT, SEARCH, PHOTOS, SPEED = "Output", "Search", "Which photos", "Model and speed"

Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="text, csv, tsv, jsonl, or imagefolder: Hugging Face's, with -o PHOTOS/metadata.jsonl. Default: by the "
        "suffix of FILE, or text.",
        rich_help_panel=OUTPUT,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with the output file of an earlier run; it knows a photo however its path is spelled.",
        rich_help_panel=OUTPUT,
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="With --resume: try the photos that failed again.", rich_help_panel=OUTPUT),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output file if it exists.", rich_help_panel=OUTPUT)
]
Sidecar = Annotated[
    str | None,
    typer.Option(
        help="Write each caption into a text file beside its photo, with this suffix: .txt or .caption.",
        rich_help_panel=OUTPUT,
    ),
]
WriteMetadata = Annotated[
    bool,
    typer.Option(
        "--write-metadata",
        help="Write each caption into its photo's own description (XMP, EXIF).",
        rich_help_panel=OUTPUT,
    ),
]
Xmp = Annotated[
    bool,
    typer.Option(
        "--xmp",
        help="Write each caption into an XMP file beside its photo, beach.jpg.xmp; what else is in it stays.",
        rich_help_panel=OUTPUT,
    ),
]
XmpName = Annotated[
    str | None,
    typer.Option(
        "--xmp-name",
        metavar="full|stem",
        help="stem: beach.xmp, as Lightroom and Capture One name it. Default: full.",
        rich_help_panel=OUTPUT,
    ),
]
Field = Annotated[
    str | None,
    typer.Option(
        "--field",
        metavar="description|alt|both",
        help="What --write-metadata and --xmp write: the description, the alt text for web pages (IPTC), or both.",
        rich_help_panel=OUTPUT,
    ),
]
MaxChars = Annotated[
    int | None,
    typer.Option(
        "--max-chars",
        metavar="N",
        help="Longest alt text: the best of --captions that fits, else the best one, cut at a word.",
        rich_help_panel=OUTPUT,
    ),
]
ExistingTexts = Annotated[
    str,
    typer.Option(
        "--existing",
        metavar="keep|replace|append|prepend",
        help="What to do with sidecars and texts of metadata that photos have already. append, prepend: sidecars get "
        "the caption after or before what they say, unless they say it.",
        rich_help_panel=OUTPUT,
    ),
]
Separator = Annotated[
    str | None,
    typer.Option(
        "--separator",
        metavar="TEXT",
        help="What stands between, with --existing append and prepend. Default: a comma and a space.",
        rich_help_panel=OUTPUT,
    ),
]
Prefix = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        help="What goes before each caption in sidecars and --format imagefolder, as it is; other rows do not get it.",
        rich_help_panel=OUTPUT,
    ),
]
Suffix = Annotated[str, typer.Option(metavar="TEXT", help="What goes after it there.", rich_help_panel=OUTPUT)]
MinConfidence = Annotated[
    float | None,
    typer.Option(
        metavar="0..1",
        help="Photos whose caption is less likely right get no sidecar, no metadata and no line of text; rows keep "
        "the caption and note it.",
        rich_help_panel=OUTPUT,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Print no summary, and no line for a photo that failed or was left as it was.",
        rich_help_panel=OUTPUT,
    ),
]
Progress = Annotated[
    bool,
    typer.Option("--progress/--no-progress", help="Show a progress bar on a terminal.", rich_help_panel=OUTPUT),
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
    typer.Option(help="Images in hand at a time. Default: 32 for many on a CPU, else 16.", rich_help_panel=SPEED),
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
