"""The Triton kernels on a GPU or, with TRITON_INTERPRET=1 in the environment, on the CPU, as test_cuda.py has it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from byol_a.kernels import Kernels

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and not INTERPRETED:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session", autouse=INTERPRETED)
def loops_in_the_interpreter() -> Iterator[None]:
    """Triton 3.6 makes loop bounds of arrays with one element as numpy before 2.4 did it."""
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor: type, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(interpreter, "_patch_lang_tensor", patched)
        yield


@pytest.fixture(scope="session")
def device() -> str:
    return "cpu" if INTERPRETED else "cuda"


@pytest.fixture(scope="session", params=["tiles as in training", "small tiles, each program several"])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    from byol_a.kernels.cuda import CUDAKernels
    from byol_a.kernels.triton.launch import LAUNCHES, Launch

    if request.param == "tiles as in training":
        return CUDAKernels()
    rows = {"patch_moments": 64, "relu_dropout": 256, "relu_dropout_backward": 256}
    return CUDAKernels({name: Launch(rows.get(name, 16), channels=16, programs=3) for name in LAUNCHES})
