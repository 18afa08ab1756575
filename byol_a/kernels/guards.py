"""When kernels must stay out of the way: they see memory, not what torch has made of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_ordinary(x: Tensor) -> bool:
    """Whether `x` is a tensor with values in memory and nobody records or transforms what is done to it.

    Not so under torch.compile, torch.jit.trace, forward-mode differentiation, the transformations of torch.func (vmap,
    grad, jvp) and modes that see every operation, nor of tensors of a class of their own, such as fake ones.
    """
    return (
        type(x) is Tensor
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
        and torch._C._len_torch_dispatch_stack() == 0
    )


def is_watched(*modules: nn.Module) -> bool:
    """Whether a hook waits for one of these modules to be called."""
    of_all = torch.nn.modules.module
    watched = any(getattr(of_all, f"_global{hooks}", None) for hooks in HOOKS)
    return watched or any(getattr(module, hooks, None) for module in modules for hooks in HOOKS)


def is_plain_linear(layer: nn.Module) -> bool:
    """Whether a layer is `x W^T + b` and nothing else, its weight parametrised or not."""
    return isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward and not is_watched(layer)
