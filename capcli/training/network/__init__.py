"""The captioning network in PyTorch: ResNet-50 encoder, LSTM decoders, search, and weights read from files.

Knows nothing of runs, captions files, objectives or ONNX. A new decoder is a class in `decoder` and a line in its
`DECODERS`.
"""

from __future__ import annotations

from capcli.training.network.caption_network import CaptionNetwork
from capcli.training.network.decoder import DECODERS, Decoder, DecoderConfig, Dropout, build_decoder
from capcli.training.network.encoder_weights import load_encoder
from capcli.training.network.resnet import EncoderConfig, ResNet50
from capcli.training.network.search import search_grid

__all__ = [
    "DECODERS",
    "CaptionNetwork",
    "Decoder",
    "DecoderConfig",
    "Dropout",
    "EncoderConfig",
    "ResNet50",
    "build_decoder",
    "load_encoder",
    "search_grid",
]
