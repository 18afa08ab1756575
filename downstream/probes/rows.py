"""Embeddings from memory or a file as a tensor, without a copy where none is needed."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor


def as_rows(inputs: np.ndarray | Tensor, indices: np.ndarray | None = None, device: str = "cpu") -> Tensor:
    """Rows (n, D) of `inputs` (N, D), all or those at ascending `indices`, as float32 on the device.

    The result may share memory with `inputs` and is not to be written to.
    """
    everything = indices is None or len(indices) == len(inputs)
    if isinstance(inputs, Tensor):
        rows = inputs if everything else inputs[torch.as_tensor(indices, device=inputs.device)]
        return rows.detach().to(device, torch.float32)
    array = np.asarray(inputs if everything else inputs[indices], dtype=np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)
