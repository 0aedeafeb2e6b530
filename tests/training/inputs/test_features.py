"""What stored features are known by: the images' contents, and the function that made them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.photos import write_photo

torch = pytest.importorskip("torch", reason="needs the train extra")

from capcli.training.inputs.features import encoder_fingerprint, load_for_training  # noqa: E402
from capcli.training.network.resnet import EncoderConfig, ResNet50  # noqa: E402

CONFIG = EncoderConfig(width=2, blocks=(1, 1, 1, 1))


def encoder(config: EncoderConfig = CONFIG) -> ResNet50:
    torch.manual_seed(0)
    return ResNet50(config)


@pytest.mark.parametrize("last_stage", range(5))
def test_a_fingerprint_is_that_of_every_weight_up_to_the_last_stage_and_of_no_other(last_stage: int) -> None:
    plain = encoder_fingerprint(encoder(), last_stage, 64)
    assert plain == encoder_fingerprint(encoder(), last_stage, 64)
    changed = set()
    for name, _ in encoder().named_parameters():
        other = encoder()
        with torch.no_grad():
            other.get_parameter(name).view(-1)[-1] += 1e-3
        if encoder_fingerprint(other, last_stage, 64) != plain:
            changed.add(name)
    parts = {"conv1", *(f"layer{number}" for number in range(1, last_stage + 1))}
    assert changed == {name for name, _ in encoder().named_parameters() if name.split(".")[0] in parts}


def test_a_fingerprint_is_that_of_size_stage_and_configuration_too() -> None:
    found = {
        encoder_fingerprint(encoder(), 3, 64),
        encoder_fingerprint(encoder(), 3, 96),
        encoder_fingerprint(encoder(), 2, 64),
        encoder_fingerprint(encoder(replace(CONFIG, stride_in="conv2")), 3, 64),
        encoder_fingerprint(encoder(replace(CONFIG, pool="symmetric")), 3, 64),
    }
    assert len(found) == 5


def test_an_image_is_known_by_its_content(tmp_path: Path) -> None:
    one, other = write_photo(tmp_path / "one.png", "chelsea"), write_photo(tmp_path / "two.png", "coffee")
    (tmp_path / "copy.jpg").write_bytes(one.read_bytes())
    key = load_for_training(one, 32).key
    assert load_for_training(tmp_path / "copy.jpg", 32).key == key != load_for_training(other, 32).key
    # A file that was edited is another image.
    one.write_bytes(other.read_bytes())
    assert load_for_training(one, 32).key == load_for_training(other, 32).key != key
