"""The two graphs: whatever decoder they are written from, they compute what it computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnxscript", reason="needs the train extra")

from torch import Tensor  # noqa: E402

from capcli.training.network.caption_network import CaptionNetwork  # noqa: E402
from capcli.training.network.decoder import DECODERS, DecoderConfig, PooledDecoder, Tensors, build_decoder  # noqa: E402
from capcli.training.network.resnet import EncoderConfig, ResNet50  # noqa: E402
from capcli.training.network.rows import OWN_ROWS, Rows  # noqa: E402
from capcli.training.onnx.quantise import quantise  # noqa: E402
from capcli.training.onnx.write import write_decoder, write_encoder  # noqa: E402

SIZE = 64


class Remembering(PooledDecoder):
    """A decoder that somebody might add: its context is no grid, and a state holds its last two outputs."""

    @property
    def context_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"pooled": (self.config.features,)}

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {**super().state_shapes, "last": (2, self.config.hidden)}

    def prepare(self, grid: Tensor) -> tuple[Tensors, Tensors]:
        _, (h, c) = super().prepare(grid)
        return (grid.mean(1),), (h, c, torch.zeros(grid.shape[0], 2, self.config.hidden))

    def advance(
        self, gates: Tensor, state: Tensors, context: Tensors, rows: Rows = OWN_ROWS
    ) -> tuple[Tensor, Tensors, Tensor | None]:
        h, c, last = state
        output, (h, c), _ = super().advance(gates, (h, c), (), rows)
        last = torch.cat([rows.of_state(last)[:, 1:], output.unsqueeze(1)], dim=1)
        # The same for all hypotheses of an image: what is theirs, less that, plus what is the image's.
        seen = rows.by_row(rows.by_image(output) * 0 + context[0][:, None, : self.config.hidden])
        return last.sum(1) + seen, (h, c, last), None


@pytest.mark.parametrize("kind", [*DECODERS, "remembering"])
def test_the_graphs_compute_what_the_network_computes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DECODERS, "remembering", Remembering)
    torch.manual_seed(0)
    encoder = ResNet50(EncoderConfig(width=2, blocks=(1, 1, 1, 1)))
    sizes = DecoderConfig(kind, 11, encoder.config.channels, hidden=8, embedding=6, attention=5)
    network = quantise(CaptionNetwork(encoder, build_decoder(sizes)))
    decoder = network.decoder
    write_encoder(network, tmp_path / "encoder.onnx", SIZE)
    write_decoder(network, tmp_path / "decoder.onnx", positions=4)
    encode, step = (onnxruntime.InferenceSession(tmp_path / f"{name}.onnx") for name in ("encoder", "decoder"))
    images = torch.randint(0, 256, (3, SIZE, SIZE, 3), dtype=torch.uint8)
    names = [*decoder.context_names, *decoder.state_names]
    found = dict(zip(names, encode.run(names, {"images": images.numpy()}), strict=True))
    with torch.inference_mode():
        context, state = decoder.prepare(network.encoder(images))
    for name, tensor in zip(names, (*context, *state), strict=True):
        np.testing.assert_allclose(found[name], tensor.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)

    # A hypothesis of the first image and two of the last, over two steps; then both go on from the first of these.
    rows = np.array([0, 2, 2])
    context = tuple(part[rows] for part in context)
    inputs = {name: found[name] for name in names}
    if decoder.context_names:
        inputs |= {"image_rows": np.array([[0, 0], [0, 0], [1, 2]]), "row_slots": np.array([0, 4, 5])}
    for words, parents in (([1, 4, 5], rows), ([7, 3, 9], np.array([0, 1, 1]))):
        inputs["state_index"] = parents
        with torch.inference_mode():
            scores, state, attention = decoder.step(
                torch.tensor(words), tuple(part[parents] for part in state), context
            )
        given = dict(
            zip(
                (output.name for output in step.get_outputs()), step.run(None, {**inputs, "tokens": words}), strict=True
            )
        )
        np.testing.assert_allclose(given["log_probs"], scores.numpy(), rtol=1e-4, atol=1e-5)
        assert ("attention" in given) == (attention is not None)
        for name, tensor in zip(decoder.state_names, state, strict=True):
            np.testing.assert_allclose(given[f"{name}.next"], tensor.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)
            inputs[name] = given[f"{name}.next"]
