"""Mixed precision from photos to a bundle: what a GPU, or a CPU that multiplies bfloat16, does without being asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import small_run
from tests.photos import write_photo
from tests.shapes import write_data_set

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pycocoevalcap", reason="needs the train extra")

from capcli import Captioner  # noqa: E402
from capcli.training.export import ExportOptions, export_runs  # noqa: E402
from capcli.training.progress import TrainingListener  # noqa: E402
from capcli.training.run import train  # noqa: E402


def test_bfloat16_trains_on_captions_then_on_rewards_and_becomes_a_bundle(tmp_path: Path) -> None:
    """The search of self-critical updates runs in autocast without gradients; the update then needs the same weights.

    PyTorch before 2.11 kept the cast weights of that search for the update, which then failed.
    """
    write_data_set(tmp_path / "data", copies=1, size=64)
    config = replace(
        small_run(tmp_path / "data"), epochs=1, fine_tune=1, warmup=200, device="cpu", precision="mixed", beam=2
    )
    first = train(config, tmp_path / "first", cache=tmp_path / "cache", listener=TrainingListener())
    config = replace(config, objective="self-critical", beam_samples=2, init=(str(first.path),), encoder=None)
    second = train(config, tmp_path / "second", cache=tmp_path / "cache", listener=TrainingListener())
    assert [line["reward"] is None for line in (*first.read_log(), *second.read_log())] == [True, False]
    weights = [run.load("last")["model"] for run in (first, second)]
    for run in weights:
        assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in run.values())
    shared = weights[0].keys() & weights[1].keys()
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in shared)

    export_runs(
        [second.path],
        tmp_path / "bundle",
        ExportOptions("x", precision="float32"),
        overwrite=False,
        note=lambda _: None,
    )
    photo = write_photo(tmp_path / "photo.jpg", "coffee")
    (answer,) = Captioner(tmp_path / "bundle", provider="cpu").caption([photo])
    assert answer.text
