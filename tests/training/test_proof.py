"""The proof of an export: what it is made on, and that it can say no."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY_BUNDLE
from tests.shapes import draw, write_data_set

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pycocoevalcap", reason="needs the train extra")
onnx = pytest.importorskip("onnx", reason="needs the train extra")

from capcli import Captioner  # noqa: E402
from capcli.bundle.bundle import describe_file, read_bundle, write_manifest  # noqa: E402
from capcli.errors import CapcliError  # noqa: E402
from capcli.training.onnx.quantise import quantise  # noqa: E402
from capcli.training.onnx.read import read_model  # noqa: E402
from capcli.training.photos import Photos  # noqa: E402
from capcli.training.proof import IMAGES, prove, read_proof_images  # noqa: E402

# The images it is proved on


def test_proof_images_stand_for_all_data_sets_and_need_no_captions(tmp_path: Path) -> None:
    for name, count in (("a", 70), ("b", 35)):
        (tmp_path / name).mkdir()
        for number in range(count):
            draw("circle", "red", "white", number, 40).save(tmp_path / name / f"{number}.png")
    # The even choice falls on this one.
    (tmp_path / "a" / "0.png").write_bytes(b"torn")
    found = read_proof_images([tmp_path / "a", tmp_path / "missing", tmp_path / "b"], 64)
    assert found.pixels.shape == (IMAGES, 64, 64, 3) and len(set(found.paths)) == IMAGES
    assert sum(Path(path).parent.name == "b" for path in found.paths) in (10, 11)
    # Suffixes are not asked for where no file has one.
    (tmp_path / "a" / "1.png").rename(tmp_path / "bare")
    assert read_proof_images([tmp_path / "bare"], 64).paths == (str(tmp_path / "bare"),)


# The proof


class Case:
    """A copy of the tiny bundle beside the network that it holds; either may be changed before it is proved."""

    def __init__(self, folder: Path) -> None:
        self.bundle = folder / "bundle"
        shutil.copytree(TINY_BUNDLE, self.bundle)
        model = read_model(self.bundle)
        self.model = replace(model, network=quantise(model.network))
        write_data_set(folder / "shapes", copies=2, size=64)
        self.images = read_proof_images([folder / "shapes" / "images"], model.input_size)
        self.settings = Captioner(self.bundle, provider="cpu").settings()

    def prove(self, count: int = IMAGES) -> int:
        images = Photos(self.images.paths[:count], self.images.pixels[:count])
        return prove(self.bundle, self.model, self.settings, images)

    def change_file(self, role: str, change: Callable[[Path], None]) -> None:
        """Changes a file and makes the manifest's checksum fit, so that loading has nothing to say."""
        manifest = read_bundle(self.bundle).manifest
        name = manifest.files[role].path
        change(self.bundle / name)
        write_manifest(self.bundle, replace(manifest, files={**manifest.files, role: describe_file(self.bundle, name)}))

    def change_weights(self, role: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """`change` is given all weights of a graph by name, and gives those back that are others."""

        def rewrite(path: Path) -> None:
            model = onnx.load(path)
            tensors = {tensor.name: tensor for tensor in model.graph.initializer}
            changed = change({name: onnx.numpy_helper.to_array(tensor).copy() for name, tensor in tensors.items()})
            for name, array in changed.items():
                tensors[name].CopyFrom(onnx.numpy_helper.from_array(array, name))
            onnx.save_model(model, path)

        self.change_file(role, rewrite)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_bundle_as_it_was_exported_is_proved_without_a_tie(case: Case) -> None:
    assert case.prove() == 0


def test_other_scores_for_the_same_words_are_refused(case: Case) -> None:
    def scale(path: Path) -> None:
        model = onnx.load(path)
        (node,) = (node for node in model.graph.node if "log_probs" in node.output)
        node.output[list(node.output).index("log_probs")] = "unscaled"
        model.graph.initializer.append(onnx.numpy_helper.from_array(torch.tensor(1.5).numpy(), "factor"))
        model.graph.node.append(onnx.helper.make_node("Mul", ["unscaled", "factor"], ["log_probs"]))
        onnx.save_model(model, path)

    before = [found[0].raw for found in Captioner(case.bundle).caption_pixels(case.images.pixels, case.settings)]
    case.change_file("decoder", scale)
    after = [found[0].raw for found in Captioner(case.bundle).caption_pixels(case.images.pixels, case.settings)]
    assert before == after
    with pytest.raises(CapcliError, match=r"does not say what the network says: for .*with score"):
        case.prove()


def test_a_small_fault_in_the_encoder_is_seen_in_the_scores(case: Case) -> None:
    """A hundredth of one convolution: no word is another."""
    case.change_weights("encoder", lambda held: {"encoder.conv1.scale": held["encoder.conv1.scale"] * 1.01})
    with pytest.raises(CapcliError, match="does not say what the network says"):
        case.prove()


@pytest.mark.parametrize("count", [1, IMAGES])
def test_a_word_for_another_is_refused_though_the_scores_agree(case: Case, count: int) -> None:
    """Two words of the bundle's vocabulary change places; ids and scores are as they were."""

    def exchange(path: Path) -> None:
        values = json.loads(path.read_text("utf-8"))
        words = values["model"]["vocab"]
        said = Captioner(case.bundle).caption_pixels(case.images.pixels[:1], case.settings)[0][0].tokens
        other = next(word for word in ("red", "circle", "square", "ground") if word not in said)
        words[said[0]], words[other] = words[other], words[said[0]]
        path.write_text(json.dumps(values), "utf-8")

    case.change_file("tokenizer", exchange)
    with pytest.raises(CapcliError, match="does not say what the network says"):
        case.prove(count)


def test_too_many_ties_are_refused(case: Case) -> None:
    """A network that finds all words equally good, and a bundle that leans towards one by less than rounding may."""
    decoder = case.model.network.decoder
    with torch.no_grad():
        for name in ("to_embedding.weight_int8", "to_embedding.bias", "output_bias"):
            decoder.state_dict()[name].zero_()
    words = len(case.model.tokenizer)

    def lean(by: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
        names = ("decoder.to_embedding.weight_int8", "decoder.to_embedding.bias", "decoder.output_bias")

        def change(held: dict[str, Any]) -> dict[str, Any]:
            changed = {name: held[name] * 0 for name in names}
            changed["decoder.output_bias"][words - 1] = by
            return changed

        return change

    case.change_weights("decoder", lean(0.0))
    assert case.prove() == 0
    case.change_weights("decoder", lean(5e-5))
    # One image may tie, a few of many may; not all.
    assert case.prove(1) == 1
    with pytest.raises(CapcliError, match=f"the same score for {IMAGES} of {IMAGES} images, at most 2 may"):
        case.prove()
    # What leans by more is no tie.
    case.change_weights("decoder", lean(1e-2))
    with pytest.raises(CapcliError, match="does not say what the network says"):
        case.prove(1)
