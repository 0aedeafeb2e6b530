"""What `capcli bench` cannot measure alone: python -m tests.benchmarks.measure_targets [--model BUNDLE] [--data DATA].

The int8 encoder against the same network in float32, a whole run against a plain PyTorch pipeline, `capcli --help`
against a bare Typer program with the same commands, the size of the wheel, and with --data, a folder that holds
flickr8k, scenes and wide, CIDEr on their dev photos beside the float32 form's. Needs the extras train and test. What is
compared takes turns; a figure is the median of the rounds, with its range.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import typer
from PIL import Image

from capcli import Captioner
from capcli.benchmark.machine import machine
from capcli.benchmark.measure import ratio, take_turns
from capcli.benchmark.photos import SMALL, write_photos
from capcli.benchmark.report import Limit
from capcli.caption_settings import CaptionSettings
from capcli.captioning import CaptioningRun
from capcli.cli.app import app
from capcli.dataset.captions import CaptionedImage, read_captions
from capcli.decoding.filters import caption_filters
from capcli.decoding.search import SearchSettings
from capcli.evaluation.plain import plain_cider
from capcli.inputs.paths import InputItem
from capcli.opening import LANES_FOR_MANY
from capcli.outputs.destinations import Destinations
from capcli.outputs.provenance import ProvenanceMemory
from capcli.outputs.row_file import RowFile
from capcli.outputs.rows import row_format
from capcli.pipeline import PipelineSettings
from capcli.training.initial import load_model
from capcli.training.model import CaptioningModel
from capcli.training.network.search import search_grid

ROOT = Path(__file__).resolve().parents[2]
DEV = {
    "flickr8k": "Flickr_8k.devImages.txt",
    "scenes": "scenes.devImages.txt",
    "wide": "wide.devImages.txt",
}
# Of the PyTorch pipeline.
BATCH = 16


def float32_form(bundle: Path, photos: Path, folder: Path) -> Path:
    """The bundle's float32 form, as `capcli export` makes it."""
    made = folder / "float32"
    command = [sys.executable, "-m", "capcli", "export", str(bundle), str(made), "--precision", "float32"]
    subprocess.run([*command, "--proof-images", str(photos)], check=True, capture_output=True)
    return made


class PlainPipeline:
    """What one writes with PyTorch: photos one by one, batches of 16, eager float32, the same network and search."""

    def __init__(self, model: CaptioningModel, search: SearchSettings) -> None:
        self._model, self._search = model, search
        self._filters = caption_filters(model.tokenizer, model.habits)
        model.network.eval()

    def run(self, photos: Sequence[Path], output: Path) -> None:
        size = (self._model.input_size, self._model.input_size)
        with output.open("w", newline="") as file, torch.inference_mode():
            rows = csv.writer(file)
            for begin in range(0, len(photos), BATCH):
                some = photos[begin : begin + BATCH]
                pixels = np.stack([np.asarray(Image.open(path).convert("RGB").resize(size)) for path in some])
                features = self._model.network.features(torch.from_numpy(pixels))
                found = search_grid(
                    self._model.network.decoder, features, self._model.tokenizer, self._search, self._filters
                )
                rows.writerows(
                    (path, " ".join(self._model.tokenizer.tokens(best[0].tokens)))
                    for path, best in zip(some, found, strict=True)
                )


def whole_run(captioner: Captioner, photos: Sequence[Path], output: Path) -> None:
    """What `capcli caption` does once the model is loaded, but that threads read the photos, not processes."""
    output.unlink(missing_ok=True)
    memory = ProvenanceMemory(output.parent / "state")
    file = RowFile(output, row_format("csv", ranked=False), memory=memory)
    speed = PipelineSettings(captioner.batch_size)
    CaptioningRun(lambda: captioner, CaptionSettings(), Destinations(file), speed).run(
        InputItem(str(path)) for path in photos
    )


def help_ratio(folder: Path, rounds: int) -> Limit:
    """`capcli --help` against the help of a Typer program that has commands of the same names and nothing else."""
    commands = typer.main.get_group(app)
    names = commands.list_commands(typer.Context(commands))
    same = "\n".join(f"@app.command('{name}')\ndef command_{at}(): 'Help.'" for at, name in enumerate(names))
    program = folder / "bare.py"
    program.write_text(f"import typer\napp = typer.Typer()\n{same}\napp()\n", "utf-8")

    def start(*command: str) -> None:
        subprocess.run([sys.executable, *command, "--help"], check=True, capture_output=True)

    ours, bare = take_turns(3 * rounds, lambda: start("-m", "capcli"), lambda: start(str(program)))
    return ratio("help", "capcli --help / a bare Typer program's, time", ours, bare, 1.2, at_most=True)


def wheel_size(folder: Path) -> Limit:
    # From a copy: a build leaves nothing in the checkout.
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    size = wheel.stat().st_size / 1e6
    return Limit("wheel", "wheel", size, size, size, 30, True, "MB")


def dev_photos(data: Path, name: str) -> list[CaptionedImage]:
    images, _ = read_captions(data / name / "Images", data / name / "captions.txt")
    by_name = {image.path.name: image for image in images}
    return [by_name[line] for line in (data / name / DEV[name]).read_text("utf-8").split()]


def cider(captioner: Captioner, images: Sequence[CaptionedImage]) -> float:
    """x 100, with a plain tokeniser."""
    said = [result.captions[0].raw for result in captioner.stream([image.path for image in images])]
    return plain_cider(said, [image.captions for image in images])


def show(limit: Limit) -> None:
    sign = "<=" if limit.at_most else ">="
    print(
        f"{limit.what}: {limit.value:.3f} {limit.unit} ({limit.low:.3f} to {limit.high:.3f}), target {sign} "
        f"{limit.target:g}: {'met' if limit.met else 'missed'}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=96)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    print(machine())
    with tempfile.TemporaryDirectory(prefix="capcli-targets-") as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        photos = write_photos(folder / "photos", arguments.photos, SMALL)
        captioner = Captioner(arguments.model, provider="cpu", threads=2)
        bundle = captioner.bundle.folder
        form = Captioner(float32_form(bundle, folder / "photos", folder), provider="cpu", threads=2)
        pixels = np.stack([captioner.load(path) for path in photos])
        batches = np.array_split(pixels, max(1, len(pixels) // captioner.batch_size))
        int8, float32 = take_turns(
            arguments.rounds,
            lambda: [captioner.encode(batch) for batch in batches],
            lambda: [form.encode(batch) for batch in batches],
        )
        # With AVX2 alone 1.8.
        show(ratio("int8", "float32 encoder / int8, time", float32, int8, 2.5, at_most=False))
        many = Captioner(captioner.bundle, provider="cpu", threads=2, lanes=LANES_FOR_MANY)
        plain = PlainPipeline(load_model(str(bundle)), captioner.settings())
        theirs, ours = take_turns(
            arguments.rounds,
            lambda: plain.run(photos, folder / "plain.csv"),
            lambda: whole_run(many, photos, folder / "ours.csv"),
        )
        show(ratio("pytorch", "plain PyTorch pipeline / whole run, time", theirs, ours, 4, at_most=False))
        show(help_ratio(folder, arguments.rounds))
        show(wheel_size(folder))
        for data_set in DEV if arguments.data else ():
            images = dev_photos(arguments.data, data_set)
            mine, exact = cider(captioner, images), cider(form, images)
            print(f"{data_set}: CIDEr {mine:.1f} in int8, {exact:.1f} in float32")
            show(ratio(data_set, f"{data_set}, CIDEr int8 / float32", [mine], [exact], 0.99, at_most=False))


if __name__ == "__main__":
    main()
