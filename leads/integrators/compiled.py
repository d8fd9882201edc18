"""Compiling a hot function where the machine can, and saying so in one line where it cannot."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cache
from shutil import which
from typing import Any, TypeVar

import torch

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
    """``torch.compile(function)``; plain ``function`` with one warning where it cannot be compiled, or fails to be.

    Shapes are compiled in, so call it with few different ones, and pass numbers that vary as tensors. Results equal
    the plain ones to rounding.
    """
    reason = cannot_compile()
    if reason is not None:
        warnings.warn(f"Running without compilation: {reason}.", stacklevel=2)
        return function
    # All functions made by one factory share a limit on compilations that is meant for one of them.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILATIONS)
    fast = torch.compile(function, dynamic=False)
    failed = False

    def call(*args: Any) -> Any:
        nonlocal failed
        if failed:
            return function(*args)
        try:
            return fast(*args)
        except Exception as error:
            # Whatever the compiler raises, the plain function either works or raises what the user should see.
            result = function(*args)
            failed = True
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            warnings.warn(f"Running without compilation, which failed: {first}", stacklevel=2)
            return result

    return call  # type: ignore[return-value]
