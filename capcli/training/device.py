"""What a run computes on: device, precision, threads, and the processes that prepare its batches.

`auto` and 0 of the settings become what this machine has. Knows nothing of data or networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from capcli.errors import UsageError
from capcli.runtime.cores import available_cores
from capcli.training.config import TrainConfig


@dataclass(frozen=True)
class Machine:
    """`autocast`: type of mixed precision, None for float32. `threads`: of the CPU. `workers`: processes that prepare
    batches."""

    device: torch.device
    autocast: torch.dtype | None
    threads: int
    workers: int

    @property
    def precision(self) -> str:
        """float32, bfloat16 or float16."""
        return "float32" if self.autocast is None else str(self.autocast).removeprefix("torch.")

    def mixed_precision(self) -> torch.autocast:
        """Around all that is computed in the run's precision."""
        return torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None)


def choose_machine(config: TrainConfig) -> Machine:
    """What the settings mean here.

    Raises:
        UsageError: CUDA was asked for and this PyTorch cannot use it.
    """
    device = choose_device(config.device)
    return Machine(
        device,
        choose_precision(config.precision, device),
        config.threads or available_cores(),
        choose_workers(config, device),
    )


def choose_workers(config: TrainConfig, device: torch.device) -> int:
    """Processes that prepare batches: a GPU is fed by all cores, a CPU has its own work to do."""
    if config.workers:
        return config.workers
    return max(1, available_cores() - 1) if device.type == "cuda" else 1


def choose_device(name: str) -> torch.device:
    """The device to train on.

    Raises:
        UsageError: CUDA was asked for and this PyTorch cannot use it.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this PyTorch sees no CUDA device; check nvidia-smi and the torch build")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """Type of mixed precision: bfloat16 where the hardware multiplies it, float16 on older GPUs, None for float32."""
    if name == "float32":
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    # Only such CPUs gain; on others bfloat16 is emulated and slower than float32.
    return torch.bfloat16 if name == "mixed" or _multiplies_bfloat16() else None


def _multiplies_bfloat16() -> bool:
    # torch has no public name for it; where a version lacks this one, float32 is right everywhere.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported is not None and supported())
