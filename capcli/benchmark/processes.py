"""What only a process of its own can show: the time to the first caption, and the memory of a run.

Starts Python with capcli, and with a bare script that does the least any tool with this model must do.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capcli.errors import CapcliError

# Its own words on the command line: encoder, decoder, photo, size in pixels, threads.
_BARE = """
import os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnxruntime as ort
from PIL import Image
encoder, decoder, photo, size, threads = sys.argv[1:]
options = ort.SessionOptions()
options.intra_op_num_threads = int(threads)
encoder, decoder = (
    ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"]) for graph in (encoder, decoder)
)
pixels = np.asarray(Image.open(photo).convert("RGB").resize((int(size), int(size))))
encoder.run(None, {encoder.get_inputs()[0].name: pixels[None]})
"""

# Linux counts the memory of whoever started a process as that process's own peak, and the benchmark's is large: a small
# Python starts and measures it. What it starts itself, to read photos, is looked at while it runs, on Linux.
_MEASURE = """
import json, os, subprocess, sys, threading, time
def beside(process):
    total = 0
    for thread in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{thread}/children") as file:
            for child in file.read().split():
                with open(f"/proc/{child}/smaps_rollup") as rollup:
                    total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total * 1024 / 1e6
def own_peak(process):
    with open(f"/proc/{process}/status") as status:
        return sum(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024 / 1e6
def look():
    global own, most
    while not over.wait(0.05):
        try:
            own = max(own, own_peak(process.pid))
            most = max(most, beside(process.pid))
        except OSError:
            pass
own, most, over = 0, 0, threading.Event()
begin = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
looking = threading.Thread(target=look)
looking.start()
cpu = peak = None
if hasattr(os, "wait4"):
    _, status, usage = os.wait4(process.pid, 0)
    code = process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    # macOS counts in bytes, Linux in kibibytes.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    if most:
        # What the system says is the peak of the largest of them.
        peak = own + most
else:
    code = process.wait()
seconds = time.perf_counter() - begin
over.set()
looking.join()
print(json.dumps([code, seconds, cpu, peak]))
"""


@dataclass(frozen=True)
class Ran:
    """One finished process: seconds on the clock; CPU seconds and peak memory in MB where the system tells them.

    Both include the processes that it started; of their memory, their part of what they share.
    """

    seconds: float
    cpu_seconds: float | None
    peak_megabytes: float | None


def bare_start(encoder: Path, decoder: Path, photo: Path, size: int, threads: int) -> Ran:
    """Imports ONNX Runtime, NumPy and Pillow, opens both graphs and runs the encoder once."""
    return _run([sys.executable, "-c", _BARE, str(encoder), str(decoder), str(photo), str(size), str(threads)])


def capcli_start(photo: Path, options: Sequence[str]) -> Ran:
    """Captions one photo."""
    return _run([sys.executable, "-m", "capcli", "caption", str(photo), *options])


def capcli_run(photos: Sequence[Path], options: Sequence[str]) -> Ran:
    """Captions photos into a CSV that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="capcli-bench-") as folder:
        output = ["-0", "-", "-q", "-o", str(Path(folder) / "captions.csv")]
        names = b"\0".join(os.fsencode(photo) for photo in photos)
        # What is remembered of output files is no business of a file that goes at once.
        state = {"XDG_STATE_HOME": folder, "LOCALAPPDATA": folder}
        return _run([sys.executable, "-m", "capcli", "caption", *output, *options], names, state)


def _run(command: Sequence[str], given: bytes = b"", env: dict[str, str] | None = None) -> Ran:
    # An installed program has its bytecode beside it. Where this machine writes none, every start would compile all
    # modules anew: it is written apart then, by the start that warms up.
    kept = {**os.environ, **(env or {})}
    if kept.pop("PYTHONDONTWRITEBYTECODE", None):
        kept["PYTHONPYCACHEPREFIX"] = _bytecode().name
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _MEASURE, *command],
        input=given,
        capture_output=True,
        env=kept,
        check=False,
    )
    try:
        code, seconds, cpu, peak = json.loads(done.stdout)
    except ValueError:
        code = done.returncode or 1
    if code != 0:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise CapcliError(f"a process that was to be measured ended with {code} ({last})")
    return Ran(seconds, cpu, peak)


@functools.cache
def _bytecode() -> tempfile.TemporaryDirectory[str]:
    """A folder for bytecode, until the benchmark ends."""
    return tempfile.TemporaryDirectory(prefix="capcli-bench-")
