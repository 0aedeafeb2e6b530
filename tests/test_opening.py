"""A model that is being opened by another thread."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from capcli.bundle.bundle import load_bundle
from capcli.errors import BundleError, UsageError
from capcli.opening import OpeningModel
from tests.conftest import python


def test_the_bundle_and_both_graphs_are_those_of_the_model(tiny: Path) -> None:
    opening = OpeningModel(tiny, "cpu", 2)
    assert opening.bundle().manifest == load_bundle(tiny).manifest
    encoder, decoder = opening.sessions()
    assert [spec.name for spec in encoder.inputs] == ["images"]
    assert "tokens" in [spec.name for spec in decoder.inputs]
    assert (encoder.threads, decoder.threads) == (2, 2)


@pytest.mark.parametrize(("threads", "lanes", "kept", "shared"), [(2, 2, 2, 1), (8, 2, 2, 7), (1, 2, 1, 1)])
def test_lanes_share_the_threads_and_each_brings_one(
    threads: int, lanes: int, kept: int, shared: int, tiny: Path
) -> None:
    opening = OpeningModel(tiny, "cpu", threads, lanes)
    assert (opening.threads, opening.lanes) == (threads, kept)
    assert [session.threads for session in opening.sessions()] == [shared, shared]


def test_a_bundle_that_is_read_is_not_read_again(tiny: Path, tmp_path: Path) -> None:
    bundle = load_bundle(shutil.copytree(tiny, tmp_path / "model"))
    (tmp_path / "model" / "manifest.json").unlink()
    opening = OpeningModel(bundle, "cpu", 1)
    assert opening.bundle() is bundle and len(opening.sessions()) == 2


def test_what_is_wrong_with_a_model_is_said_where_it_is_asked_for(tiny: Path, tmp_path: Path) -> None:
    missing = OpeningModel(tmp_path / "none", "cpu", 1)
    for ask in (missing.bundle, missing.sessions):
        with pytest.raises(BundleError, match="none"):
            ask()
    changed = shutil.copytree(tiny, tmp_path / "changed")
    content = bytearray((changed / "decoder.onnx").read_bytes())
    content[-1] ^= 1
    (changed / "decoder.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"decoder\.onnx: damaged bundle: its sha256"):
        OpeningModel(changed, "cpu", 1).sessions()
    with pytest.raises(UsageError, match="no provider 'gpu'"):
        OpeningModel(tiny, "gpu", 1)
    with pytest.raises(UsageError, match="lanes must be at least 1"):
        OpeningModel(tiny, "cpu", 2, 0)
    with pytest.raises(UsageError, match="threads must be at least 1"):
        OpeningModel(tiny, "cpu", 0)


def test_importing_it_loads_no_numpy() -> None:
    done = python("import sys, capcli.opening\nprint('numpy' in sys.modules, 'onnxruntime' in sys.modules)\n")
    assert done.text == "False False\n"


def test_what_is_printed_meanwhile_is_printed(tiny: Path) -> None:
    done = python(
        "import sys, time, onnxruntime\n"
        "from capcli.opening import OpeningModel\n"
        "real = onnxruntime.InferenceSession\n"
        "onnxruntime.InferenceSession = lambda *given, **how: (time.sleep(0.2), real(*given, **how))[1]\n"
        "opening = OpeningModel(sys.argv[1], 'auto', 1)\n"
        "count = 0\n"
        "while not opening._sessions.done():\n"
        "    count += 1\n"
        "    print(count, flush=True)\n"
        "    print(count, file=sys.stderr, flush=True)\n"
        "    time.sleep(0.01)\n"
        "print(len(opening.sessions()))\n",
        str(tiny),
        CUDA_VISIBLE_DEVICES="-1",
    )
    *out, last = map(int, done.text.split())
    assert last == 2 and len(out) > 2 and out == list(range(1, len(out) + 1)) == [*map(int, done.err.split())]
