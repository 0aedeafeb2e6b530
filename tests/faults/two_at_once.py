"""Starts two commands on the same photos at once, again and again, and says what either of them lost.

    python -m tests.faults.two_at_once [--rounds 10]

Each of the two has captions of its own, which replace those of a person in all places. Afterwards every file is one's
or the other's, what the person had written is told in the rows of the one that replaced it, a photo that was refused
is told so in its row, and no temporary file is left. Ends with 1 if a law was broken. Needs the metadata extra.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from PIL import Image

from capcli.outputs.metadata import write_description
from capcli.outputs.records import read_rows
from capcli.outputs.replaced import replaced_in
from capcli.outputs.rows import Row
from capcli.outputs.xmp_sidecars import XmpSidecars
from tests.conftest import environment
from tests.shapes import draw

_PHOTOS, _LOADED_S = 40, 3
_BY_HAND = "By hand."
_TEXTS = ("Of the one.", "Of the other.")
_REFUSED = "another program"
# Both begin at one moment: loaded, and told to.
_AT_ONCE = """
import sys
import capcli.applying, capcli.cli.apply, capcli.outputs.row_file, pyexiv2
from capcli.cli import main
sys.stdin.readline()
main()
"""


def one_round(folder: Path, counts: Counter[str]) -> list[str]:
    """Broken laws."""
    import pyexiv2

    (folder / "photos").mkdir()
    picture = draw("circle", "red", "white", 1, 64)
    for number in range(_PHOTOS):
        photo = folder / "photos" / f"{number}.jpg"
        picture.save(photo, quality=95)
        write_description(photo, _BY_HAND)
        XmpSidecars().put([Row(str(photo), _BY_HAND, None, None)])
    with Image.open(folder / "photos" / "0.jpg") as image:
        pixels = image.tobytes()
    running = []
    for place, text in enumerate(_TEXTS):
        rows = "".join(f"photos/{number}.jpg,{text}\n" for number in range(_PHOTOS))
        (folder / f"{place}.csv").write_text(f"path,caption\n{rows}")
        options = ("--write-metadata", "--xmp", "--sidecar", ".txt", "--existing", "replace", "-q")
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", _AT_ONCE, "apply", f"{place}.csv", *options, "-o", f"done{place}.csv"],
                cwd=folder,
                stdin=subprocess.PIPE,
                env=environment(XDG_STATE_HOME=str(folder / "state")),
            )
        )
    time.sleep(_LOADED_S)
    for process in running:
        assert process.stdin is not None
        process.stdin.close()
    codes = [process.wait() for process in running]
    broken = [] if set(codes) <= {0, 1} else [f"ends with {codes}"]
    done = [list(read_rows(folder / f"done{place}.csv", "csv")) for place in range(2)]
    told = Counter(
        (Path(row.path).name, place)
        for rows in done
        for row in rows
        for place, values in (replaced_in(row.note) or {}).items()
        if _BY_HAND in str(values)
    )
    for kept in done:
        broken += [f"{len(kept)} rows"] if len({row.path for row in kept}) != _PHOTOS else []
        errors = [row.error for row in kept if row.error is not None]
        counts["refused"] += len(errors)
        broken += [error for error in errors if _REFUSED not in error]
    for number in range(_PHOTOS):
        photo = folder / "photos" / f"{number}.jpg"
        with Image.open(photo) as image:
            broken += [f"{photo.name}: pixels"] if image.tobytes() != pixels else []
        said = []
        for file, where in ((photo, "metadata"), (Path(f"{photo}.xmp"), "xmp")):
            with pyexiv2.ImageData(file.read_bytes()) as image:
                said.append(image.read_xmp()["Xmp.dc.description"]['lang="x-default"'])
            broken += [f"{file.name}: nobody tells what it said"] if not told[photo.name, where] else []
            counts["told by both"] += told[photo.name, where] == 2
        said.append(photo.with_suffix(".txt").read_text().strip())
        broken += [f"{photo.name}: says {said}"] if not set(said) <= {*_TEXTS} else []
        counts["of both"] += len(set(said)) == 2
    names = {path.name for path in (folder / "photos").iterdir()}
    wanted = {f"{number}{suffix}" for number in range(_PHOTOS) for suffix in (".jpg", ".jpg.xmp", ".txt")}
    return broken + [f"left behind: {name}" for name in names - wanted]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    counts, broken = Counter[str](), list[str]()
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="capcli-two-") as folder:
            broken += one_round(Path(folder), counts)
    print(f"{rounds} rounds of {_PHOTOS} photos: {dict(counts)}, {len(broken)} violations", *broken, sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
