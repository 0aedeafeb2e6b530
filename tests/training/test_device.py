"""What a run computes on, where the settings leave it to the machine."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from capcli.training.config import TrainConfig  # noqa: E402
from capcli.training.device import choose_machine, choose_precision  # noqa: E402

CPU = torch.device("cpu")


@pytest.mark.parametrize(("supported", "wanted"), [(True, torch.bfloat16), (False, None), (None, None)])
def test_a_cpu_computes_in_bfloat16_where_torch_says_it_multiplies_it(
    supported: bool | None, wanted: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    if supported is None:  # the name is torch's own and may go
        monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    else:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    assert choose_precision("auto", CPU) is wanted
    assert choose_precision("mixed", CPU) is torch.bfloat16
    assert choose_precision("float32", CPU) is None


def test_what_is_asked_for_is_what_there_is() -> None:
    machine = choose_machine(TrainConfig(device="cpu", precision="mixed", threads=3, workers=2))
    assert (machine.device, machine.precision, machine.threads, machine.workers) == (CPU, "bfloat16", 3, 2)
    machine = choose_machine(TrainConfig(device="cpu", precision="float32"))
    assert machine.precision == "float32" and machine.threads >= 1 and machine.workers == 1
