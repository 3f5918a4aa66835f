"""Compilation of a training step by Inductor, PyTorch's compiler."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import torch

from lsabinet_core.cores import at_most_cores

if TYPE_CHECKING:
    # PyTorch imports it when it is first used.
    import torch._inductor.config

P = ParamSpec("P")
R = TypeVar("R")

_FLAGS = " -fno-strict-aliasing -fno-tree-slp-vectorize"


def compile_step(compute: Callable[P, R]) -> Callable[P, R]:
    """Compile a function with ``torch.compile``, with a correct gradient and at most one compiler process per core."""
    config = torch._inductor.config
    # By default one compiler process is started per core, including cores that a CPU quota excludes.
    if (threads := config.compile_threads) is not None:
        config.compile_threads = at_most_cores(threads)
    _avoid_wrong_code(config.cpp)
    return torch.compile(compute)


def _avoid_wrong_code(cpp: Any) -> None:
    """Pass ``_FLAGS`` to the C++ compiler.

    Inductor's code for bf16 transposes tiles on the stack. GCC 12 on an Intel processor with AVX-512 (-O3
    -march=native) lets it read such tiles before they are written, so that gradients are wrong or not finite (torch
    2.13). Disabling strict aliasing was enough for a small network; LSA-BiNet also needed the vectorisation of
    straight-line code to be disabled. Inductor itself disables the vectorisation of loops. It has no setting for
    additional flags, but inserts the value of ``enable_floating_point_contract_flag`` into the command as it is. In
    older versions of PyTorch, that setting may be a bool and is left alone.
    """
    flag = getattr(cpp, "enable_floating_point_contract_flag", None)
    if isinstance(flag, str) and not flag.endswith(_FLAGS):
        cpp.enable_floating_point_contract_flag = flag + _FLAGS
