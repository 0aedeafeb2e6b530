"""The encoder: pixels, grid, and its two parts."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from capcli.training.network.resnet import IMAGENET_MEAN, IMAGENET_STD, EncoderConfig, ResNet50  # noqa: E402


def test_an_encoder_is_described_in_plain_values() -> None:
    """As JSON and a checkpoint give them back."""
    config = EncoderConfig("conv2", "symmetric", width=8, blocks=(1, 2, 3, 4))
    values = json.loads(json.dumps(config.as_dict()))
    assert values == config.as_dict()
    assert EncoderConfig.from_dict(values) == config


def test_pixels_are_normalised_as_imagenets() -> None:
    """A picture of the mean colour is nothing, and one brighter by a deviation is one."""
    encoder = ResNet50(EncoderConfig(width=8))
    seen = []
    encoder.conv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    mean, deviation = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    for level in (mean, mean + deviation):
        encoder.forward_until((255 * level).expand(1, 32, 32, 3), 1)
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 32, 32), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[1], torch.ones(1, 3, 32, 32), atol=1e-5, rtol=0)


@pytest.mark.parametrize("stride_in", ["conv1", "conv2"])
@pytest.mark.parametrize("pool", ["right-bottom", "symmetric"])
def test_the_grid_has_a_cell_for_every_32_pixels(stride_in: str, pool: str) -> None:
    encoder = ResNet50(EncoderConfig(stride_in, pool, width=8))
    with torch.inference_mode():
        assert encoder(torch.zeros(2, 224, 224, 3, dtype=torch.uint8)).shape == (2, 49, 256)
        assert encoder(torch.zeros(1, 64, 64, 3, dtype=torch.uint8)).shape == (1, 4, 256)


def test_frozen_and_trained_parts_together_are_the_whole_encoder() -> None:
    torch.manual_seed(0)
    encoder = ResNet50(EncoderConfig(width=8)).eval()
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        whole = encoder.forward_until(images, 4)
        for stage in range(5):
            torch.testing.assert_close(encoder.forward_from(encoder.forward_until(images, stage), stage), whole)
