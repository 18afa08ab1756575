"""Full float32 precision for a front-end, whatever short cuts the training around it has allowed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Run matrix products and convolutions in real float32 on every device, not in TF32 or bfloat16.

    TF32 is off by default for products but on for cuDNN convolutions, and costs a log-mel three digits.
    """
    try:
        matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:  # this program uses the newer switches, one for each backend, and must not mix them
        with _each_backend_ieee():
            yield
        return
    if matmul != "highest":
        torch.set_float32_matmul_precision("highest")
    if convolution:
        torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        if matmul != "highest":
            torch.set_float32_matmul_precision(matmul)
        if convolution:
            torch.backends.cudnn.allow_tf32 = True


@contextmanager
def _each_backend_ieee() -> Iterator[None]:
    backends: Any = torch.backends  # the stubs lag behind
    switches = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision
