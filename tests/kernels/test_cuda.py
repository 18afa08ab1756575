import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from byol_a.kernels import Unavailable

ROOT = Path(__file__).resolve().parents[2]
ON_CPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here, on which all of this is tested")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )


@ON_CPU
@pytest.mark.parametrize("kind", ["affine", "conv", "dropout", "launch", "moments", "pooling"])
def test_kernels_in_the_interpreter(kind: str) -> None:
    """The tests of tests/kernels/triton, on CPU tensors: Triton has to know before it is imported."""
    pytest.importorskip("triton")
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/kernels/triton/test_{kind}.py")
    done = run(*command, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize(("capability", "dtype"), [(80, "bfloat16"), (90, "bfloat16"), (90, "float32")])
def test_kernels_compile_for_gpus_that_are_not_here(capability: int, dtype: str) -> None:
    """For an A100 and an H100: in registers, in the shared memory that any GPU gives, in accesses of 16 bytes."""
    pytest.importorskip("triton")
    done = run("-m", "tests.kernels.compile_triton", str(capability), dtype)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert len(found) == 13
    assert {name: used["spilled"] for name, used in found.items() if used["spilled"]} == {}
    assert all(used["shared"] <= 48 * 1024 for used in found.values())
    assert {name for name, used in found.items() if used["access"] < 16} == {"patch_moments"}


@ON_CPU
def test_without_a_gpu_they_say_so() -> None:
    pytest.importorskip("triton")
    from byol_a.kernels.cuda import CUDAKernels

    with pytest.raises(Unavailable, match="PyTorch finds no GPU"):
        CUDAKernels()


def test_without_triton_they_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("byol_a.kernels.triton")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "triton", None)
    from byol_a.kernels.cuda import CUDAKernels

    with pytest.raises(Unavailable, match="Triton cannot be imported"):
        CUDAKernels()


def test_an_old_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    from byol_a.kernels.cuda import CUDAKernels

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    with pytest.raises(Unavailable, match=r"compute capability 7\.5, below 8\.0"):
        CUDAKernels()


def test_a_compiler_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    from byol_a.kernels.cuda import CUDAKernels

    def fail(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(CUDAKernels, "relu_dropout", fail)
    monkeypatch.setattr(torch, "ones", lambda *_, **__: None)
    with pytest.raises(Unavailable, match=r"cannot build kernels here \(Failed to find C compiler\.\)"):
        CUDAKernels()
