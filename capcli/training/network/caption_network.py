"""Encoder and decoder together: what is trained, saved and exported.

The encoder is in two parts: the first stages are frozen, so that what they make of an image is computed once; the last
ones are trained with the decoder. Knows nothing of files, batches or objectives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from capcli.training.network.decoder import Decoder, DecoderConfig, Dropout, build_decoder
from capcli.training.network.resnet import SLICE, STAGES, EncoderConfig, ResNet50, grid
from capcli.training.network.weights import with_present_names

# What the names of the word-presence head's weights begin with.
_PRESENCE = "presence."


class CaptionNetwork(nn.Module):
    """Images in, word scores out.

    `presence`: a linear layer from the pooled grid to a score for each word of the vocabulary, whether the image's
    captions hold it; only training uses it, and neither `start.pt` nor a bundle holds it. `last_frozen`: the last stage
    of the encoder that is not trained: 0 is the stem, -1 none; STAGES, until `freeze` is called, the whole encoder.
    """

    def __init__(self, encoder: ResNet50, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.presence: nn.Linear | None = None
        self.last_frozen = STAGES

    def add_presence(self, seed: int) -> nn.Linear:
        """Adds the word-presence head, with fresh weights that `seed` decides."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.presence = nn.Linear(self.encoder.config.channels, self.decoder.config.vocabulary)
        return self.presence

    def freeze(self, fine_tune: int) -> None:
        """Lets gradients through all but the encoder, and through the encoder's last `fine_tune` parts.

        Args:
            fine_tune: of the four stages and the stem, 0 to 5.
        """
        self.last_frozen = STAGES - fine_tune
        for parameter in self.encoder.parameters():
            parameter.requires_grad_(False)
        for number in range(STAGES + 1 - fine_tune, STAGES + 1):
            for parameter in self.encoder.stage_parameters(number):
                parameter.requires_grad_(True)

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, by name."""
        return {name: tensor for name, tensor in self.named_parameters() if tensor.requires_grad}

    def frozen_maps(self, images: Tensor) -> Tensor:
        """What the frozen part makes of images, uint8 [N, S, S, 3]: float [N, C, h, w], without gradients."""
        with torch.no_grad():
            return self.encoder.forward_until(images, self.last_frozen)

    def features(self, inputs: Tensor) -> Tensor:
        """The grid that the decoder takes, with gradients of the trained part.

        Args:
            inputs: images, uint8 [N, S, S, 3], or their `frozen_maps`, float [N, C, h, w]; on any device.
        Returns:
            float [N, P, channels], on the network's device.
        """
        device = next(self.parameters()).device
        inputs = inputs.to(device, non_blocking=True)
        if inputs.dtype == torch.uint8:
            if self.last_frozen < 0:
                return grid(self.encoder.forward_until(inputs, STAGES))
            slices = torch.split(inputs, SLICE if device.type == "cpu" else len(inputs))
            inputs = torch.cat([self.frozen_maps(images) for images in slices])
        if not torch.is_autocast_enabled(device.type):
            inputs = inputs.float()
        inputs = inputs.to(memory_format=torch.channels_last)
        return grid(self.encoder.forward_from(inputs, self.last_frozen))

    def describe(self) -> dict[str, Any]:
        """How to build such a network, in plain values, as a bundle's manifest has it."""
        return {"encoder": self.encoder.config.as_dict(), "decoder": self.decoder.config.as_dict()}

    def as_checkpoint(self) -> dict[str, Any]:
        """What `start.pt` holds: how to build the network, and its weights."""
        weights = {
            name: tensor.detach().cpu() for name, tensor in self.state_dict().items() if not name.startswith(_PRESENCE)
        }
        return {**self.describe(), "model": weights}

    @classmethod
    def from_checkpoint(cls, saved: Mapping[str, Any], dropout: Dropout | None = None) -> CaptionNetwork:
        """The network that `as_checkpoint` described, of this version or an earlier one."""
        network = cls(
            ResNet50(EncoderConfig.from_dict(saved["encoder"])),
            build_decoder(DecoderConfig.from_dict(saved["decoder"]), dropout),
        )
        network.load_state_dict(with_present_names(saved["model"]))
        return network

    def load_trained(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies the trained tensors of `last.pt` or `best.pt`; those of a head that is not here are left out."""
        parameters = dict(self.named_parameters())
        with torch.no_grad():
            for name, tensor in with_present_names(tensors).items():
                if name in parameters or not name.startswith(_PRESENCE):
                    parameters[name].copy_(tensor)
