"""Makes tests/tiny_bundle: a real bundle of a few hundred kilobytes for tests that caption by the thousand.

    python -m tests.make_tiny_bundle

A ResNet-50 an eighth as wide, its stem and stages trained with a small attention decoder on generated shapes, by the
same code that trains the shipped model. Needs the train extra and a few minutes on two cores.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch
from torch import nn

from capcli.bundle.habits import Habits
from capcli.bundle.tokens import Tokenizer
from capcli.training.config import DataSource, TrainConfig
from capcli.training.data import read_data
from capcli.training.export import ExportOptions, export_runs
from capcli.training.initial import fresh_network
from capcli.training.model import CaptioningModel
from capcli.training.network.resnet import Bottleneck, EncoderConfig, ResNet50
from capcli.training.progress import EpochResult, TrainingListener
from capcli.training.run import train
from capcli.training.run_folder import RunFolder
from tests.shapes import write_data_set

TARGET = Path(__file__).parent / "tiny_bundle"
INPUT_SIZE = 64


class Printed(TrainingListener):
    """Prints what a run has to say."""

    def note(self, line: str) -> None:
        print(line)

    def epoch(self, result: EpochResult) -> None:
        print(f"epoch {result.epoch}: loss {result.loss}, CIDEr {result.mean_cider}", flush=True)


def narrow_encoder() -> ResNet50:
    """A ResNet-50 of width 8 with weights that train without batch normalisation."""
    torch.manual_seed(0)
    encoder = ResNet50(EncoderConfig(width=8))
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    for module in encoder.modules():
        if isinstance(module, Bottleneck):
            # Blocks that start as the identity keep the signal's size through fifty layers (Zhang et al., 2019).
            nn.init.zeros_(module.conv3.weight)
    return encoder


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        captions = write_data_set(work, copies=16, size=INPUT_SIZE)
        config = TrainConfig(
            data=(DataSource(str(work / "images"), str(captions)),),
            epochs=40,
            batch_size=32,
            hidden=48,
            embedding=24,
            attention=16,
            min_count=1,
            learning_rate=3e-3,
            encoder_learning_rate=1e-3,
            warmup=60,
            dropout_features=0.0,
            dropout_words=0.0,
            label_smoothing=0.0,
            fine_tune=5,
            input_size=INPUT_SIZE,
            max_length=12,
            precision="float32",
            threads=2,
        )
        run = RunFolder(work / "run")
        run.path.mkdir()
        tokenizer = Tokenizer.learn(
            [caption for image in read_data(config).train for caption in image.captions], config.min_count
        )
        network = fresh_network(config, narrow_encoder(), len(tokenizer))
        run.write_start(config, CaptioningModel(network, tokenizer, Habits(), INPUT_SIZE))
        train(config, run.path, cache=work / "cache", listener=Printed())
        shutil.rmtree(TARGET, ignore_errors=True)
        result = export_runs(
            [run.path],
            TARGET,
            ExportOptions(
                name="tiny",
                description="Coloured shapes on plain ground; for capcli's own tests.",
                weights_terms="Apache-2.0",
                precision="float32",
            ),
            overwrite=False,
            note=print,
        )
        print(f"{result.folder}: {result.size} bytes")


if __name__ == "__main__":
    main()
