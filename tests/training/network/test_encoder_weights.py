"""Encoder weights from an int8 archive and from a torchvision file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import nn  # noqa: E402

from capcli.errors import DataError  # noqa: E402
from capcli.training.network.encoder_weights import load_encoder  # noqa: E402
from capcli.training.network.resnet import EncoderConfig, ResNet50  # noqa: E402


class ReferenceBlock(nn.Module):
    """A bottleneck with batch normalisation, written plainly, with torchvision's names."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != 4 * channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * channels, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * channels)
            )

    def forward(self, x: Any) -> Any:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x))).relu()


class ReferenceResNet(nn.Module):
    """ResNet-50 v1.5 with batch normalisation, as torchvision lays it out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = 64
        for stage, count in enumerate((3, 4, 6, 3), start=1):
            blocks = []
            for block in range(count):
                blocks.append(ReferenceBlock(inputs, 32 * 2**stage, stride=2 if stage > 1 and block == 0 else 1))
                inputs = 128 * 2**stage
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(2048, 1000)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return x


@pytest.fixture(scope="module")
def reference() -> ReferenceResNet:
    torch.manual_seed(0)
    network = ReferenceResNet()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Statistics of a trained network, not those of a fresh one, so that folding has something to fold.
            nn.init.uniform_(module.weight, 0.3, 0.7)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.get_buffer("running_mean"), std=0.1)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_torchvision_state_dict_is_folded_to_the_same_function(
    reference: ReferenceResNet, wrapped: bool, tmp_path: Path
) -> None:
    path = tmp_path / "resnet50.pth"
    state: dict[str, Any] = dict(reference.state_dict())
    if wrapped:
        state = {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}
    torch.save(state, path)
    encoder = load_encoder(path)
    assert encoder.config.stride_in == "conv2"
    images = torch.randint(0, 256, (1, 96, 96, 3), dtype=torch.uint8)
    scale, shift = encoder.get_buffer("pixel_scale"), encoder.get_buffer("pixel_shift")
    with torch.inference_mode():
        wanted = reference(images.permute(0, 3, 1, 2) * scale + shift)
        given = encoder.forward_until(images, 4)
    torch.testing.assert_close(given, wanted, rtol=1e-3, atol=1e-3)


def int8_archive(path: Path, encoder: ResNet50) -> dict[str, np.ndarray]:
    """Writes a network's rounded weights in the archive's layout; returns them as floats by layer."""
    arrays: dict[str, np.ndarray] = {}
    floats: dict[str, np.ndarray] = {}
    for name, tensor in encoder.state_dict().items():
        if name.endswith(".bias"):
            arrays[name] = tensor.numpy()
            continue
        scale = np.float32(2.0 ** np.ceil(np.log2(float(tensor.abs().max()) / 127)))
        rounded = np.round(tensor.numpy() / scale).astype(np.int8)
        layer = name.removesuffix(".weight")
        arrays[f"{layer}.weight_int8"], arrays[f"{layer}.scale"] = rounded, np.asarray(scale)
        floats[name] = rounded * scale
    arrays["fc.weight_int8"] = np.zeros((1000, 2048), np.int8)
    arrays["fc.scale"], arrays["fc.bias"] = np.ones((), np.float32), np.zeros(1000, np.float32)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return floats


def test_an_int8_archive_is_read_as_the_original_resnet(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "resnet50.npz"
    floats = int8_archive(path, ResNet50(EncoderConfig()))
    encoder = load_encoder(path)
    assert (encoder.config.stride_in, encoder.config.pool) == ("conv1", "right-bottom")
    for name, wanted in floats.items():
        np.testing.assert_array_equal(encoder.state_dict()[name].numpy(), wanted)


def test_the_stride_placement_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "resnet50.npz"
    int8_archive(path, ResNet50(EncoderConfig()))
    encoder = load_encoder(path, stride_in="conv2")
    convolutions: list[Any] = [encoder.get_submodule(f"layer2.0.conv{number}") for number in (1, 2)]
    assert [convolution.stride for convolution in convolutions] == [(1, 1), (2, 2)]


def broken(path: Path, kind: str) -> Path:
    if kind == "missing":
        return path / "nothing.npz"
    if kind == "text":
        file = path / "weights.pth"
        file.write_text("hello")
    elif kind == "empty":
        file = path / "weights.npz"
        file.write_bytes(b"")
    elif kind == "other network":
        file = path / "weights.pth"
        torch.save({"conv1.weight": torch.zeros(8, 3, 3, 3)}, file)
    elif kind == "wrong shape":
        file = path / "weights.pth"
        tensors = ResNet50(EncoderConfig()).state_dict()
        torch.save({**tensors, "layer1.0.conv1.weight": torch.zeros(1)}, file)
    elif kind == "not finite":
        file = path / "weights.pth"
        tensors = ResNet50(EncoderConfig()).state_dict()
        torch.save({**tensors, "conv1.bias": torch.full((64,), torch.nan)}, file)
    elif kind == "code":
        file = path / "weights.pth"
        torch.save({"conv1.weight": Path("x")}, file)
    else:
        file = path / "weights.npz"
        np.savez(file, **{"conv1.weight_int8": np.zeros((64, 3, 7, 7), np.int8)})  # type: ignore[arg-type]
    return file


@pytest.mark.parametrize(
    "kind", ["missing", "text", "empty", "other network", "wrong shape", "not finite", "code", "no scale"]
)
def test_anything_else_is_one_clear_error(kind: str, tmp_path: Path) -> None:
    path = broken(tmp_path, kind)
    with pytest.raises(DataError) as caught:
        load_encoder(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
