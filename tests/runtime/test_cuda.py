"""Whether CUDA can work, judged from facts: no GPU is needed."""

from __future__ import annotations

import ctypes

import pytest

from capcli.runtime import cuda
from capcli.runtime.cuda import CudaFacts, failed_session, gather_facts

GOOD = CudaFacts((13, 0), driver_found=True, driver_version=(13, 1), devices=1)


@pytest.mark.parametrize(
    ("facts", "reason", "mend"),
    [
        (CudaFacts((13, 0)), "no NVIDIA driver", "nvidia.com/drivers"),
        (
            CudaFacts((13, 0), True, (12, 8)),
            "runs CUDA up to 12.8, the installed onnxruntime-gpu needs CUDA 13.0",
            "580",
        ),
        (CudaFacts((13, 0), True, (12, 8)), "too old", "onnxruntime-gpu[cuda,cudnn]<1.27"),
        (CudaFacts((12, 9), True, (11, 8)), "too old", "update the driver to 525 or newer, or use the cpu provider"),
        (CudaFacts((15, 0), True, (14, 1)), "too old", "update the driver, or use the cpu provider"),
        (CudaFacts((13, 0), True, (13, 0), ("libcudnn.so.9: no such file",)), "libcudnn.so.9", "capcli[cuda]"),
        (CudaFacts((13, 0), True, None, devices=0), "no NVIDIA GPU is visible", "nvidia-smi"),
        (CudaFacts((13, 0), True, (13, 0), devices=0, visible_devices=""), "CUDA_VISIBLE_DEVICES is ''", "unset"),
        (
            CudaFacts((13, 0), True, (13, 0), driver_failure="CUDA error 803"),
            "does not start (CUDA error 803)",
            "restart",
        ),
    ],
)
def test_each_obstacle_has_its_reason_and_its_mend(facts: CudaFacts, reason: str, mend: str) -> None:
    obstacle = facts.obstacle()
    assert obstacle is not None
    assert reason in obstacle.reason and mend in obstacle.mend
    assert len(str(obstacle).splitlines()) == 1


@pytest.mark.parametrize(
    "facts",
    [
        GOOD,
        # Any driver of the same major version will do, and any newer one.
        CudaFacts((13, 2), True, (13, 0), devices=1),
        CudaFacts((12, 8), True, (13, 0), devices=4, visible_devices="0"),
        CudaFacts(None, True, None, devices=1),
    ],
)
def test_nothing_stands_in_the_way_of_a_good_machine(facts: CudaFacts) -> None:
    assert facts.obstacle() is None


class Driver:
    """Stands for NVIDIA's library, which only a machine with a GPU has: answers as its documentation says."""

    def __init__(self, version: int = 13010, init: int = 0, devices: int = 1) -> None:
        self.version, self.init, self.devices = version, init, devices
        self.started = False

    def cuDriverGetVersion(self, answer: object) -> int:  # noqa: N802
        _pointed_at(answer).value = self.version
        return 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        self.started = True
        return self.init

    def cuDeviceGetCount(self, answer: object) -> int:  # noqa: N802
        _pointed_at(answer).value = self.devices
        return 0

    def cuGetErrorString(self, code: int, answer: object) -> int:  # noqa: N802
        return 1


def _pointed_at(reference: object) -> ctypes.c_int:
    value = reference._obj  # type: ignore[attr-defined]
    assert isinstance(value, ctypes.c_int)
    return value


def gathered(
    monkeypatch: pytest.MonkeyPatch, driver: Driver | None, missing: tuple[str, ...] = (), *, thorough: bool = False
) -> tuple[CudaFacts, bool]:
    """The facts, and whether CUDA's libraries were touched."""
    touched = []

    def load() -> tuple[str, ...]:
        touched.append(True)
        return missing

    monkeypatch.setattr(cuda, "_load_driver", lambda: driver)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return gather_facts((13, 0), load, thorough=thorough), bool(touched)


def test_the_probe_goes_no_further_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gathered(monkeypatch, None) == (CudaFacts((13, 0)), False)
    old = Driver(version=12040)
    assert gathered(monkeypatch, old) == (CudaFacts((13, 0), True, (12, 4)), False)
    assert not old.started
    bare = Driver()
    assert gathered(monkeypatch, bare, ("lib",))[0] == CudaFacts((13, 0), True, (13, 1), ("lib",))
    assert not bare.started
    assert gathered(monkeypatch, bare, ("lib",), thorough=True)[0].devices == 1
    assert gathered(monkeypatch, Driver()) == (GOOD, True)


def test_what_the_driver_answers_becomes_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gathered(monkeypatch, Driver(init=100))[0].devices == 0
    assert gathered(monkeypatch, Driver(init=803))[0].driver_failure == "CUDA error 803"
    assert gathered(monkeypatch, Driver(devices=0))[0].devices == 0
    assert gathered(monkeypatch, Driver(version=0))[0].driver_version is None


@pytest.mark.parametrize(
    ("reason", "mend"),
    [
        ("Failed to load library x.so with error: libcudnn.so.9: cannot open shared object file", "capcli[cuda]"),
        ("cuDNN is not available. Install cuDNN, update the system library search path", "capcli[cuda]"),
        ('LoadLibrary failed with error 126 ""', "capcli[cuda]"),
        ("CUDA error: no kernel image is available for execution on the device", "use the cpu provider"),
        ("CUDA failure 2: out of memory ; GPU=0", "smaller batch size"),
        ("Failed to allocate memory for requested buffer of size 900", "smaller batch size"),
        ("something new", "use the cpu provider"),
    ],
)
def test_a_failure_on_the_gpu_is_told_with_its_mend(reason: str, mend: str) -> None:
    obstacle = failed_session(reason)
    assert reason in obstacle.reason and mend in obstacle.mend
