"""The block that int8 is measured by: the same layers in both forms, and int8 for real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from capcli.runtime.int8_speed import CHANNELS, FLOAT32, INT8, SIDE, measure_int8_speed
from capcli.runtime.sessions import open_session


def images(seed: int) -> dict[str, np.ndarray]:
    return {"images": np.abs(np.random.default_rng(seed).standard_normal((2, CHANNELS, SIDE, SIDE), np.float32))}


def test_both_forms_compute_the_same_layers() -> None:
    exact, rounded = (open_session(graph, provider="cpu").run(images(2))[0] for graph in (FLOAT32, INT8))
    assert exact.shape == rounded.shape == (2, 4 * CHANNELS, 1, 1)
    assert 0 < np.abs(exact - rounded).max() < 0.02 * exact.max()


def test_int8_is_measured_beside_float32() -> None:
    speed = measure_int8_speed("auto", threads=1)
    assert speed.provider in ("cpu", "cuda")
    assert 0 < speed.low <= speed.ratio <= speed.high


def test_the_graphs_are_those_that_the_script_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx")
    script = pytest.importorskip("tests.make_block_graphs")
    made = [tmp_path / graph.name for graph in (INT8, FLOAT32)]
    monkeypatch.setattr(script, "INT8", made[0])
    monkeypatch.setattr(script, "FLOAT32", made[1])
    script.write_graphs()
    for shipped, again in zip((INT8, FLOAT32), made, strict=True):
        was, now = (onnx.load(path).graph for path in (shipped, again))
        assert [node.op_type for node in was.node] == [node.op_type for node in now.node]
        by_name = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in now.initializer}
        for tensor in was.initializer:
            np.testing.assert_allclose(onnx.numpy_helper.to_array(tensor), by_name[tensor.name], rtol=1e-4, atol=1)
