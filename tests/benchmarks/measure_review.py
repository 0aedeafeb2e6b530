"""How fast a page of `capcli review` opens and how smooth it stays: python -m tests.benchmarks.measure_review [N...].

Makes pages of N photos (default 500, 2000 and 5000), generated ones of 500 x 375 pixels, and opens each in Chromium,
several times. Prints the medians: the time until the list is drawn and keys work (target for 2,000 photos: 3 s), the
frames of a fast scroll through the list (their number a second, the longest), and the longest time from a key to the
next drawn frame, of some for the filter's words and of some `a` (accept). Needs playwright and Chromium. Not a test:
times are a machine's.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

from capcli.benchmark.photos import SMALL, write_photos
from capcli.outputs.rows import Row, row_format
from tests.conftest import command, environment

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_ROUNDS = 5
_WORDS = ("a", "red", "small", "dog", "cat", "street", "house", "tree", "water", "person", "sits", "looks", "near")
# Milliseconds from a key to the frame after the next: by then what it changed is on the screen.
_AFTER_KEY = """key => new Promise(done => {
  const begin = performance.now();
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - begin)));
})"""
_AFTER_WORD = """text => new Promise(done => {
  const begin = performance.now();
  document.querySelector("#query").value = text;
  document.querySelector("#query").dispatchEvent(new Event("input"));
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - begin)));
})"""
_SCROLL = """() => new Promise(done => {
  const frames = [];
  let last = performance.now();
  const step = (now) => {
    frames.push(now - last);
    last = now;
    window.scrollBy(0, 300);
    if (frames.length < 120) requestAnimationFrame(step);
    else done(frames.slice(1));
  };
  requestAnimationFrame(step);
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=int, nargs="*", default=[500, 2000, 5000])
    counts = parser.parse_args().counts
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        photos = write_photos(Path(folder), max(counts), SMALL)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for count in counts:
            page = _page(Path(folder), photos[:count])
            print(f"{count} photos, {page.stat().st_size / 1e6:.1f} MB: {_measured(browser, page)}", flush=True)
        browser.close()


def _page(folder: Path, photos: list[Path]) -> Path:
    form = row_format("csv", ranked=False)
    captions = folder / f"captions-{len(photos)}.csv"
    with captions.open("wb") as file:
        file.write(form.header())
        for number, photo in enumerate(photos):
            text = " ".join(_WORDS[(number * step + step) % len(_WORDS)] for step in range(1, 11))
            file.write(form.record(Row(str(photo), f"{text.capitalize()}.", -0.8, None, confidence=number % 997 / 997)))
    page = folder / f"review-{len(photos)}.html"
    begin = time.perf_counter()
    subprocess.run([command(), "review", captions, "-o", page], env=environment(), check=True)
    print(f"{len(photos)} photos: written in {time.perf_counter() - begin:.1f} s", flush=True)
    return page


@dataclass(frozen=True)
class _Round:
    """Seconds until the page is there, milliseconds of each frame of a scroll, and from keys to the frame after."""

    opened: float
    frames: list[float]
    word: float
    key: float


def _measured(browser: Browser, file: Path) -> str:
    rounds = [_round(browser, file) for _ in range(_ROUNDS)]
    opened = [each.opened for each in rounds]
    rate = statistics.median(1000 * len(each.frames) / sum(each.frames) for each in rounds)
    return (
        f"open in {statistics.median(opened):.2f} s (worst {max(opened):.2f}); "
        f"scroll {rate:.0f} frames/s, longest frame {statistics.median(max(each.frames) for each in rounds):.0f} ms; "
        f"filter {statistics.median(each.word for each in rounds):.0f} ms; "
        f"accept {statistics.median(each.key for each in rounds):.0f} ms"
    )


def _round(browser: Browser, file: Path) -> _Round:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page: Any = context.new_page()
    begin = time.perf_counter()
    page.goto(file.as_uri(), wait_until="load")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    opened = time.perf_counter() - begin
    frames = page.evaluate(_SCROLL)
    word = max(page.evaluate(_AFTER_WORD, text) for text in ("r", "re", "red", "red dog", ""))
    page.evaluate("document.querySelector('#list .row').focus()")
    key = max(page.evaluate(_AFTER_KEY, "a") for _ in range(20))
    context.close()
    return _Round(opened, frames, word, key)


if __name__ == "__main__":
    main()
