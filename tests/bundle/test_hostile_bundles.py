"""Bundles that somebody tampered with, whose checksums are right: each refused as it is loaded, with its reason."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capcli import BundleError, Captioner, ProviderError
from capcli.bundle.bundle import load_bundle, read_bundle
from tests.conftest import RunCommand
from tests.shapes import draw

Change = Callable[[Any], None]


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "bundle"))


def manifest(folder: Path, change: Change) -> None:
    values = json.loads((folder / "manifest.json").read_text("utf-8"))
    change(values)
    (folder / "manifest.json").write_text(json.dumps(values), "utf-8")


def replaced(folder: Path, role: str, content: bytes) -> None:
    """Puts other bytes in a file's place; the manifest agrees with them."""
    path = read_bundle(folder).path(role)
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    manifest(folder, lambda values: values["files"][role].update(bytes=len(content), sha256=digest))


def assert_refused(folder: Path, reason: str) -> None:
    with pytest.raises(BundleError, match=reason) as caught:
        Captioner(folder, provider="cpu")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


def put(*place: str | int) -> Callable[[Any], Change]:
    """A change of the manifest: another value at a place."""

    def value(new: Any) -> Change:
        def change(values: Any) -> None:
            for step in place[:-1]:
                values = values[step]
            values[place[-1]] = new

        return change

    return value


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("format")(2), "bundle format 2; this capcli reads format 1"),
        (put("format")("x" * 10_000), "bundle format 'xx"),
        (put("files", "encoder", "path")("../encoder.onnx"), "points outside"),
        (put("files", "encoder", "path")("a\0b"), "is no name of a bundle's file"),
        (put("files", "encoder", "path")("\ud800"), "is no name of a bundle's file"),
        (put("files", "encoder", "path")("x" * 10_000), "is no name of a bundle's file"),
        (put("files", "encoder", "sha256")("\ud800"), "is no sha256"),
        (put("files", "encoder", "sha256")("0" * 63), "is no sha256"),
        (put("files", "encoder", "bytes")(float("inf")), "malformed manifest"),
        (put("files", "encoder", "bytes")(1 << 40), "is not between 0 and"),
        (put("files", "tokenizer", "bytes")(1 << 31), "is not between 0 and"),
        (put("files", "card", "bytes")(-1), "is not between 0 and"),
        (put("input", "size")(float("inf")), "malformed manifest"),
        (put("search", "length_penalty")(10**400), "malformed manifest"),
        (put("graph", "attention_grid")([]), "malformed manifest"),
        (put("graph", "attention_grid")([1]), "malformed manifest"),
        (put("graph", "attention_grid")([0, 4]), "an attention grid of 0 x 4"),
        (put("graph", "attention_grid")([1 << 20, 1 << 20]), "an attention grid of"),
        (put("graph", "state")(["h1", "h1", "h2", "c2"]), "have one name"),
    ],
)
def test_a_manifest_that_claims_the_impossible_is_refused(copy: Path, change: Change, reason: str) -> None:
    manifest(copy, change)
    assert_refused(copy, reason)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a":' * 100_000, b" " * (17 << 20), b'{"format":' + b"9" * 5000]
)
def test_a_manifest_that_is_no_manifest_is_refused(copy: Path, content: bytes) -> None:
    (copy / "manifest.json").write_bytes(content)
    assert_refused(copy, "not readable as a bundle's manifest")


def end_of_pipe(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(copy: Path) -> None:
    (copy / "decoder.onnx").unlink()
    os.mkfifo(copy / "decoder.onnx")
    # Who opens it all the same waits for some seconds, and not for ever.
    timer = threading.Timer(10, end_of_pipe, [copy / "decoder.onnx"])
    timer.daemon = True
    timer.start()
    manifest(copy, put("files", "decoder", "bytes")(0))
    assert_refused(copy, "is no regular file")


def test_files_that_were_swapped_are_refused(copy: Path) -> None:
    encoder, decoder = (read_bundle(copy).path(role).read_bytes() for role in ("encoder", "decoder"))
    replaced(copy, "encoder", decoder)
    replaced(copy, "decoder", encoder)
    assert_refused(copy, "the encoder's inputs are")


@pytest.mark.parametrize("content", [b"", b"x", b"\x08\x00\x00\x00ORTM" + bytes(200), bytes(1000), b"\xff" * 1000])
@pytest.mark.parametrize("role", ["encoder", "decoder"])
def test_what_is_no_graph_is_refused(copy: Path, role: str, content: bytes) -> None:
    replaced(copy, role, content)
    assert_refused(copy, f"{role}.onnx: not a usable ONNX graph|the {role}'s inputs are")


def word_level(change: Change) -> Change:
    return lambda values: change(values["model"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (word_level(lambda model: model["vocab"].update(x=2**32 - 1)), "ids of 1000000 and more"),
        (word_level(lambda model: model["vocab"].update(x=-1)), "not a tokenizer"),
        (word_level(lambda model: model["vocab"].pop("<end>")), "has no <end>"),
        (word_level(lambda model: model["vocab"].update(x=16)), "scores 16 tokens but the tokenizer has 17"),
        (word_level(lambda model: model.update(type="BPE", merges=[])), "its tokens are not words: 'BPE'"),
        (lambda values: values.pop("model"), "not a tokenizer"),
        (
            lambda values: values["normalizer"]["normalizers"].append(
                {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
            ),
            "a precompiled normalizer",
        ),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(copy: Path, change: Change, reason: str) -> None:
    values = json.loads((copy / "tokenizer.json").read_text("utf-8"))
    change(values)
    replaced(copy, "tokenizer", json.dumps(values).encode())
    assert_refused(copy, reason)


def dimension(name: str, axis: int, size: int) -> Change:
    """A change of a graph: a tensor is declared, and where ONNX Runtime would find out, made to be, of another size."""

    def change(graph: Any) -> None:
        (value,) = [each for each in (*graph.input, *graph.output) if each.name == name]
        value.type.tensor_type.shape.dim[axis].Clear()
        value.type.tensor_type.shape.dim[axis].dim_value = size

    return change


def dtype(name: str, number: int) -> Change:
    def change(graph: Any) -> None:
        (value,) = [each for each in (*graph.input, *graph.output) if each.name == name]
        value.type.tensor_type.elem_type = number

    return change


def extra_input(graph: Any) -> None:
    graph.input.add().CopyFrom(graph.input[0])
    graph.input[-1].name = "more"


def one_image_alone(graph: Any) -> None:
    """Which image a sentence is of is not asked any more."""
    (asked,) = [each for each in graph.input if each.name == "row_slots"]
    graph.input.remove(asked)
    graph.initializer.add(name="row_slots", data_type=7, dims=[1], int64_data=[0])


def cast_output(name: str) -> Change:
    """The output comes as whole numbers."""

    def change(graph: Any) -> None:
        for node in graph.node:
            node.output[:] = ["inner" if each == name else each for each in node.output]
            node.input[:] = ["inner" if each == name else each for each in node.input]
        cast = graph.node.add(op_type="Cast", input=["inner"], output=[name])
        cast.attribute.add(name="to", type=2, i=7)
        dtype(name, 7)(graph)

    return change


@pytest.mark.parametrize(
    ("role", "change", "reason"),
    [
        ("encoder", extra_input, r"the encoder's inputs are \['images', 'more'\]"),
        ("decoder", extra_input, "the decoder's inputs are"),
        (
            "decoder",
            one_image_alone,
            "the decoder's inputs are .*'h2', 'image_rows', 'keys', 'state_index', 'tokens', 'values'], exp",
        ),
        ("encoder", dimension("images", 0, 1), r"the encoder's images is uint8 \[1, 64, 64, 3\]"),
        ("decoder", dimension("values", 2, 47), "the decoder's values is|not a usable ONNX graph"),
        ("decoder", dimension("h1", 1, 47), "the decoder's h1 is|not a usable ONNX graph"),
        ("decoder", dimension("h1", 0, 1), r"the decoder's h1 is float32 \[1, 48\], expected float32 \[N, 48\]"),
        ("encoder", cast_output("h1"), r"the encoder's h1 is int64 \[N, 48\]"),
        ("decoder", cast_output("log_probs"), r"the decoder's log_probs is int64 \[N, 16\], expected float32"),
        ("decoder", cast_output("c1.next"), r"the decoder's c1.next is int64 \[N, 48\], expected float32"),
        ("decoder", cast_output("attention"), r"the decoder's attention is int64 \[N, 4\]"),
    ],
)
def test_a_graph_of_other_shapes_or_types_is_refused(copy: Path, role: str, change: Change, reason: str) -> None:
    replaced(copy, role, changed_graph(copy, role, change))
    assert_refused(copy, reason)


def test_a_grid_that_the_decoder_does_not_have_is_refused(copy: Path) -> None:
    manifest(copy, put("graph", "attention_grid")([3, 3]))
    assert_refused(copy, r"the decoder's attention is float32 \[N, 4\], expected .* \[N, 9\]")


def test_pictures_of_a_size_that_the_encoder_does_not_take_are_refused(copy: Path) -> None:
    manifest(copy, put("input", "size")(128))
    assert_refused(copy, r"the encoder's images is uint8 \[N, 64, 64, 3\], expected uint8 \[N, 128, 128, 3\]")


def fewer_scores(graph: Any) -> None:
    """One token less, in a way that nobody can foresee."""
    for node in graph.node:
        node.output[:] = ["inner" if each == "log_probs" else each for each in node.output]
    graph.initializer.add(name="kept", data_type=9, dims=[15], int32_data=[1] * 15)
    graph.node.add(op_type="Compress", input=["inner", "kept"], output=["log_probs"]).attribute.add(
        name="axis", type=2, i=1
    )
    (value,) = [each for each in graph.output if each.name == "log_probs"]
    value.type.tensor_type.shape.dim[1].Clear()


def test_a_size_that_shows_only_in_use_is_refused_then(copy: Path) -> None:
    replaced(copy, "decoder", changed_graph(copy, "decoder", fewer_scores))
    captioner = Captioner(copy, provider="cpu")
    with pytest.raises(BundleError, match=r"decoder\.onnx: the decoder scores \[1, 15\] for 1 sentences of 16 tokens"):
        captioner.caption(np.zeros((64, 64, 3), np.uint8))


def changed_graph(folder: Path, role: str, change: Change) -> bytes:
    onnx = pytest.importorskip("onnx", reason="needs the train extra")
    model = onnx.load(read_bundle(folder).path(role))
    change(model.graph)
    return bytes(model.SerializeToString())


def external(name: str, *, nested: bool = False, declared: bool = True) -> Change:
    """A weight's bytes lie in another file."""

    def change(graph: Any) -> None:
        tensor = graph.initializer[0]
        if nested:
            tensor = graph.node.add(op_type="Constant", output=["unused"]).attribute.add(name="value", type=4).t
            tensor.dims[:], tensor.data_type = [4], 1
        tensor.ClearField("raw_data")
        tensor.external_data.add(key="location", value=name)
        if declared:
            tensor.data_location = 1

    return change


@pytest.mark.parametrize("name", ["weights.bin", "../weights.bin", "/etc/hostname", "weights/../../weights.bin"])
@pytest.mark.parametrize("kind", ["weight", "constant", "undeclared"])
def test_a_graph_whose_data_lies_in_other_files_is_refused(copy: Path, name: str, kind: str) -> None:
    for folder in (copy, copy.parent):
        (folder / "weights.bin").write_bytes(bytes(1 << 16))
    change = external(name, nested=kind == "constant", declared=kind != "undeclared")
    replaced(copy, "decoder", changed_graph(copy, "decoder", change))
    assert_refused(copy, r"decoder\.onnx: holds data in other files, which are not read")


def test_a_graph_that_only_speaks_of_a_location_is_taken(copy: Path) -> None:
    def rename(graph: Any) -> None:
        graph.node[0].name = graph.doc_string = "/location/MatMul"

    replaced(copy, "decoder", changed_graph(copy, "decoder", rename))
    image = draw("circle", "red", "white", 1000, 64)
    assert Captioner(copy, provider="cpu").caption(image).text == "A red circle on a white ground."


@pytest.mark.parametrize("tail", [b"\x3b", b"\x3a\xff\xff\xff\xff\x0f", b"\xff" * 12])
def test_a_graph_that_hides_where_its_data_lies_behind_damage_is_refused(copy: Path, tail: bytes) -> None:
    content = changed_graph(copy, "decoder", external("weights.bin"))
    replaced(copy, "decoder", tail + content)
    assert_refused(copy, r"decoder\.onnx: ")


def enormous(graph: Any) -> None:
    tensor = graph.initializer[0]
    tensor.dims[:] = [1 << 30, 1 << 12]


def test_a_tensor_that_is_larger_than_its_file_is_refused(copy: Path) -> None:
    replaced(copy, "decoder", changed_graph(copy, "decoder", enormous))
    # ONNX Runtime 1.23 tries to have the memory.
    with pytest.raises((BundleError, ProviderError), match=r"decoder\.onnx: not (a usable ONNX graph|enough memory)"):
        Captioner(copy, provider="cpu")


def test_the_command_says_so_in_one_line(copy: Path, capcli: RunCommand, tmp_path: Path) -> None:
    replaced(copy, "decoder", changed_graph(copy, "decoder", external("../weights.bin")))
    done = capcli("caption", copy / "manifest.json", "--model", copy)
    assert (done.code, done.out, done.errors.count("\n")) == (3, b"", 1)
    assert "holds data in other files" in done.errors
    load_bundle(copy)
