"""How long decoding takes beside the encoder.

    python -m tests.benchmarks.measure_decoding FOLDER [--model BUNDLE] [--threads N]

Prints the bundle's size and, for batches of 1 and 32 photos of FOLDER (the first 32), milliseconds an image of encoder
and search, as they ship and with static int8 arithmetic; medians of passes that take turns. The int8 graphs are made
here and thrown away: ONNX Runtime's own static quantisation, calibrated on those photos. They stand for the speed of
int8, not for its captions. Needs the train extra (onnx). Not a test: look at the ratios, times are the machine's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from capcli import Captioner
from capcli.errors import ImageError
from capcli.runtime.sessions import Session, open_session

_PASSES = 7


class Given(CalibrationDataReader):  # type: ignore[misc]
    """Hands out inputs one by one."""

    def __init__(self, inputs: Iterable[dict[str, np.ndarray]]) -> None:
        self._inputs = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)


class Recorder:
    """Runs a session and keeps what it was given."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.inputs: list[dict[str, np.ndarray]] = []

    def run(self, inputs: dict[str, Any], outputs: Sequence[str]) -> list[np.ndarray]:
        self.inputs.append({name: np.asarray(value) for name, value in inputs.items()})
        return self._session.run(inputs, outputs)

    def upload(self, value: np.ndarray) -> Any:
        return self._session.upload(value)


def with_float_weights(path: Path) -> Any:
    """The encoder with its stored int8 weights unpacked, as the quantiser wants it."""
    model = onnx.load(path)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        # A weight is Mul(Cast(int8), scale).
        given = [values.get(name) for name in node.input]
        first, last = given[0] if given else None, given[-1] if given else None
        if node.op_type == "Cast" and first is not None:
            values[node.output[0]] = first.astype(np.float32)
        elif node.op_type == "Mul" and first is not None and last is not None:
            values[node.output[0]] = first * last
        else:
            kept.append(node)
            continue
        model.graph.initializer.append(numpy_helper.from_array(values[node.output[0]], node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def int8_graph(path: Path, inputs: Iterable[dict[str, np.ndarray]], operators: Sequence[str], folder: Path) -> Path:
    """The graph with static int8 arithmetic in `operators`."""
    plain, quantised = folder / f"float-{path.name}", folder / f"int8-{path.name}"
    onnx.save(with_float_weights(path), plain)
    quantize_static(
        plain,
        quantised,
        Given(inputs),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(operators),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return quantised


def take_turns(jobs: Sequence[Callable[[], object]]) -> list[float]:
    """Median seconds of each job; one pass of each after the other, so that all see the same machine."""
    seconds: list[list[float]] = [[] for _ in jobs]
    for round_ in range(_PASSES + 1):
        for job, taken in zip(jobs, seconds, strict=True):
            begin = time.perf_counter()
            job()
            if round_:  # the first warms up
                taken.append(time.perf_counter() - begin)
    return [statistics.median(taken) for taken in seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    captioner = Captioner(arguments.model, provider="cpu", threads=arguments.threads)
    loaded: list[np.ndarray] = []
    for path in sorted(arguments.folder.rglob("*")):
        try:
            loaded.append(captioner.load(str(path)))
        except (ImageError, OSError):
            continue
        if len(loaded) == captioner.batch_size:
            break
    pixels = np.stack(loaded)
    print(f"{sum(file.stat().st_size for file in captioner.bundle.folder.iterdir()) / 1e6:.1f} MB")
    settings = captioner.settings()
    names = [*captioner._names.context, *captioner._names.state]
    encoder, decoder = captioner._encoder, captioner._decoder
    recorder = Recorder(decoder)
    captioner._decoder = recorder  # type: ignore[assignment]
    captioner.caption_pixels(pixels[:4], settings)
    with tempfile.TemporaryDirectory() as folder:
        parts = {
            "encoder": ([{"images": row[None]} for row in pixels[:8]], ["Conv", "Add", "MaxPool", "Relu"]),
            "decoder": (recorder.inputs, ["Gemm"]),
        }
        int8_encoder, int8_decoder = (
            open_session(
                int8_graph(captioner.bundle.path(role), inputs, operators, Path(folder)),
                provider="cpu",
                threads=arguments.threads,
            )
            for role, (inputs, operators) in parts.items()
        )
        for size in (1, len(pixels)):
            batches = [pixels[begin : begin + size] for begin in range(0, len(pixels), size)]
            encoded = [encoder.run({"images": batch}, names) for batch in batches]

            def encode(session: Session, batches: Sequence[np.ndarray] = batches) -> None:
                for batch in batches:
                    session.run({"images": batch}, names)

            def decode(
                session: Session,
                batches: Sequence[np.ndarray] = batches,
                encoded: Sequence[list[np.ndarray]] = encoded,
            ) -> None:
                given = iter(encoded)
                captioner._encoder = type("Given", (), {"run": lambda self, inputs, outputs: next(given)})()
                captioner._decoder = session
                for batch in batches:
                    captioner.caption_pixels(batch, settings)

            seconds = take_turns(
                [
                    partial(encode, encoder),
                    partial(encode, int8_encoder),
                    partial(decode, decoder),
                    partial(decode, int8_decoder),
                ]
            )
            shipped, fast, search, fast_search = (1000 / len(pixels) * value for value in seconds)
            print(
                f"batch {size}: encoder {shipped:.1f} ms an image, at int8 {fast:.1f}; search {search:.1f} "
                f"({100 * search / fast:.0f} % of the encoder at int8), at int8 {fast_search:.1f} "
                f"({100 * fast_search / fast:.0f} %)"
            )


if __name__ == "__main__":
    main()
