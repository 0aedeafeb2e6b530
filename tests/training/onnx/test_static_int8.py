"""An encoder that computes in int8: how near it stays, and what it must never do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
onnx = pytest.importorskip("onnx", reason="needs the train extra")

from torch import Tensor, nn  # noqa: E402

from capcli.runtime.sessions import open_session  # noqa: E402
from capcli.training.network.caption_network import CaptionNetwork  # noqa: E402
from capcli.training.network.resnet import EncoderConfig, ResNet50  # noqa: E402
from capcli.training.network.weights import dequantised  # noqa: E402
from capcli.training.onnx.read import read_model  # noqa: E402
from capcli.training.onnx.rounding import RoundedWeight, round_convolutions  # noqa: E402
from capcli.training.onnx.static_int8 import compute_in_int8  # noqa: E402
from tests.conftest import TINY_BUNDLE  # noqa: E402
from tests.shapes import COLOURS, draw  # noqa: E402

SIZE = 64
OFF = 1


def photos(count: int) -> np.ndarray:
    """Shapes on grounds: uint8 [count, SIZE, SIZE, 3]. Neighbours differ in colour."""
    names = list(COLOURS)
    images = [draw("circle", names[n % len(names)], "white", n, SIZE) for n in range(count)]
    return np.stack([np.asarray(image.convert("RGB")) for image in images])


def encoder(blocks: tuple[int, ...] = (1, 1, 1, 1)) -> ResNet50:
    torch.manual_seed(0)
    made = ResNet50(EncoderConfig(width=8, blocks=blocks)).eval()
    for module in made.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return made


@dataclass(frozen=True)
class Case:
    """A network, its encoder's rounded weights, and its int8 graph."""

    network: CaptionNetwork
    rounded: dict[str, RoundedWeight]
    graph: Path

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        return open_session(self.graph, provider="cpu", threads=1).run({"images": images})


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    network = read_model(TINY_BUNDLE).network.eval()
    graph = tmp_path_factory.mktemp("int8") / "encoder.onnx"
    model = onnx.load(TINY_BUNDLE / "encoder.onnx")
    # A channel that is off whatever it sees, as training leaves some: all it gives is its bias.
    (bias,) = (each for each in model.graph.initializer if each.name == "encoder.conv1.bias")
    with torch.no_grad():
        network.encoder.conv1.weight[OFF] = 0
        biases = network.encoder.get_parameter("conv1.bias")
        biases[OFF] = 3.0
    bias.CopyFrom(onnx.numpy_helper.from_array(biases.detach().numpy(), bias.name))
    onnx.save_model(model, graph)
    rounded = round_convolutions(network.encoder, torch.from_numpy(photos(24)))
    compute_in_int8(graph, {f"encoder.{name}": weight for name, weight in rounded.items()}, photos(24))
    return Case(network, rounded, graph)


def test_no_sum_of_two_products_can_leave_16_bits() -> None:
    """What a CPU without VNNI adds them in; activations are 0 to 255."""
    for weight in round_convolutions(encoder(), torch.from_numpy(photos(8))).values():
        assert weight.int8.dtype == torch.int8
        assert 255 * 2 * weight.int8.int().abs().max() <= 2**15


def test_rounding_by_photos_keeps_the_features_better_than_to_the_nearest() -> None:
    made = encoder()
    images = torch.from_numpy(photos(40))

    def error(weights: dict[str, Tensor]) -> float:
        """Of the grid, on photos that were not rounded by."""
        with torch.inference_mode():
            wanted = made(images[32:])
            changed = ResNet50(made.config).eval()
            changed.load_state_dict({**made.state_dict(), **{f"{name}.weight": each for name, each in weights.items()}})
            return float((changed(images[32:]) - wanted).norm() / wanted.norm())

    rounded = round_convolutions(made, images[:32])
    nearest = {
        name: (made.get_parameter(f"{name}.weight").detach() / each.scale).round() * each.scale
        for name, each in rounded.items()
    }
    assert 0 < error({name: each.int8 * each.scale for name, each in rounded.items()}) < 0.6 * error(nearest)


def test_a_single_photo_without_anything_on_it_is_enough_to_round_by() -> None:
    made = encoder()
    for images in (photos(1), np.zeros((1, SIZE, SIZE, 3), np.uint8), np.full((1, SIZE, SIZE, 3), 255, np.uint8)):
        for name, each in round_convolutions(made, torch.from_numpy(images)).items():
            weight = made.get_parameter(f"{name}.weight").detach()
            assert float((each.int8 * each.scale - weight).norm() / weight.norm()) < 0.05, name


def test_the_int8_graph_keeps_close_to_the_network(case: Case) -> None:
    images = photos(32)[24:]
    with torch.inference_mode():
        context, state = case.network.decoder.prepare(case.network.encoder(torch.from_numpy(images)))
    for wanted, found in zip((*context, *state), case.run(images), strict=True):
        # A memory starts with zeros.
        assert np.linalg.norm(found - wanted.numpy()) <= 0.1 * np.linalg.norm(wanted.numpy())


def test_an_image_is_seen_the_same_whatever_its_neighbours_are(case: Case) -> None:
    """Ranges that followed the batch would make a bright neighbour matter."""
    images = photos(5)
    images[1:] = 255 - images[1:]
    for alone, among in zip(case.run(images[:1]), case.run(images), strict=True):
        np.testing.assert_allclose(alone[0], among[0], rtol=1e-5, atol=1e-5)


def test_every_convolution_computes_in_int8_and_holds_its_weights_once(case: Case) -> None:
    graph = onnx.load(case.graph).graph
    makers = {name: node for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == len(case.rounded)
    assert {makers[name].op_type for node in convolutions for name in node.input} == {"DequantizeLinear"}
    encoder_bytes = sum(len(tensor.raw_data) for tensor in graph.initializer if tensor.name.startswith("encoder."))
    # An int8 a weight; for each channel a scale, an int32 bias, its scale and a zero point.
    channels = sum(len(each.int8) for each in case.rounded.values())
    assert encoder_bytes <= sum(each.int8.numel() for each in case.rounded.values()) + 20 * channels


def test_what_the_decoder_makes_of_the_grid_stays_as_it_was(case: Case) -> None:
    before, after = (
        {each.name: each for each in onnx.load(graph).graph.initializer}
        for graph in (TINY_BUNDLE / "encoder.onnx", case.graph)
    )
    of_decoder = [name for name in before if name.startswith("decoder.")]
    assert of_decoder
    for name in of_decoder:
        assert before[name] == after.get(name), name


def test_training_reads_back_what_was_rounded(case: Case) -> None:
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(case.graph).graph.initializer}
    weights = dequantised(arrays)
    for name, each in case.rounded.items():
        wanted = each.int8 * each.scale
        # The scale of a channel is raised where its bias asks for it: here, where all weights are 0.
        assert torch.equal(weights[f"encoder.{name}.weight"], wanted), name
        moved = weights[f"encoder.{name}.bias"] - case.network.encoder.get_parameter(f"{name}.bias")
        assert (moved.detach().abs().numpy() <= 0.51 * arrays[f"encoder.{name}.bias_scale"]).all(), name
