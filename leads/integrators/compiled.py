"""Compiling a hot function where the machine can, and saying so in one line where it cannot."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cache
from shutil import which
from typing import Any, TypeVar

import torch
import torch._inductor
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

#: Shapes and fields for which functions of one kind are compiled; beyond, they run plain.
RECOMPILATIONS = 64
F = TypeVar("F", bound=Callable[..., Any])


@cache
def cannot_compile() -> str | None:
    """Why ``torch.compile`` cannot be used here, or ``None`` where it can.

    ``LEADS_COMPILE=0`` in the environment turns compilation off.
    """
    if os.environ.get("LEADS_COMPILE", "1") == "0":
        return "LEADS_COMPILE=0 turns it off"
    if not torch.cuda.is_available() and not any(which(c) for c in (os.environ.get("CXX", "g++"), "g++", "clang++")):
        return "there is no C++ compiler (install g++, or set CXX)"
    return None


def compiled(function: F) -> F:
    """A pure function of tensors ``(*tensors) -> tensors``, compiled; as it is, with one warning, where it cannot be.

    It is traced once for each shape, precision and device of its arguments and handed to PyTorch's compiler without
    the checks that ``torch.compile`` makes at every call: these cost more than a small step does. So call it with few
    different shapes, and pass numbers that vary as tensors. Results equal the plain ones to rounding; no gradients
    pass. It must not read the values of its arguments.
    """
    reason = cannot_compile()
    if reason is not None:
        warnings.warn(f"Running without compilation: {reason}.", stacklevel=2)
        return function
    programs: dict[tuple[object, ...], Callable[..., Any]] = {}
    failed = False

    def call(*args: Tensor) -> Any:
        nonlocal failed
        if failed:
            return function(*args)
        key = tuple((a.shape, a.stride(), a.dtype, a.device) for a in args)
        program = programs.get(key)
        if program is not None:
            return program(*args)
        if len(programs) >= RECOMPILATIONS:
            return function(*args)
        try:
            with torch.no_grad():
                programs[key] = _program(function, args)
                return programs[key](*args)
        except Exception as error:
            # Whatever the compiler raises, the plain function either works or raises what the user should see.
            result = function(*args)
            failed = True
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            warnings.warn(f"Running without compilation, which failed: {first}", stacklevel=2)
            return result

    return call  # type: ignore[return-value]


def _program(function: Callable[..., Any], args: tuple[Tensor, ...]) -> Callable[..., Any]:
    """``function`` compiled for arguments like ``args``."""
    graph = make_fx(function, tracing_mode="fake")(*args)
    compile_graph = getattr(torch._inductor, "standalone_compile", None)
    if compile_graph is None:
        return torch.compile(graph, dynamic=False)
    return compile_graph(graph, list(args), dynamic_shapes="from_example_inputs")
