"""A data set that tests make themselves: coloured shapes on plain ground, with a sentence each."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = {
    "red": (214, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 70, 200),
    "yellow": (240, 210, 50),
}
GROUNDS = {"white": (245, 245, 245), "black": (15, 15, 15)}
SHAPES = ("circle", "square", "triangle")


def draw(shape: str, colour: str, ground: str, seed: int, size: int = 96) -> Image.Image:
    """One shape of random size and place, RGB `size` x `size`."""
    chance = random.Random(f"{shape}{colour}{ground}{seed}")
    image = Image.new("RGB", (size, size), GROUNDS[ground])
    pen = ImageDraw.Draw(image)
    radius = chance.uniform(0.2, 0.32) * size
    x, y = (chance.uniform(radius + 2, size - radius - 2) for _ in range(2))
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "circle":
        pen.ellipse(box, fill=COLOURS[colour])
    elif shape == "square":
        pen.rectangle(box, fill=COLOURS[colour])
    else:
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=COLOURS[colour])
    return image


def sentence_for(shape: str, colour: str, ground: str) -> str:
    return f"a {colour} {shape} on a {ground} ground"


def write_data_set(folder: Path, copies: int, size: int = 96, shapes: tuple[str, ...] = SHAPES) -> Path:
    """Writes images and `captions.csv` (image,caption) into `folder`.

    Returns:
        The captions file.
    """
    images = folder / "images"
    images.mkdir(parents=True)
    rows = ["image,caption"]
    for shape in shapes:
        for colour in COLOURS:
            for ground in GROUNDS:
                for copy in range(copies):
                    name = f"{colour}-{shape}-{ground}-{copy}.png"
                    draw(shape, colour, ground, copy, size).save(images / name)
                    rows.append(f"{name},A {colour} {shape} on a {ground} ground .")
                    rows.append(f"{name},{sentence_for(shape, colour, ground)}")
    captions = folder / "captions.csv"
    captions.write_text("\n".join(rows) + "\n", "utf-8")
    return captions
