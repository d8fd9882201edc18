"""Solving many trajectories in batches that suit the machine, each by the same loops whatever stands beside it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leads.errors import DivergenceError
from leads.integrators.attempts import EachField, make_attempt
from leads.integrators.compiled import cannot_compile, compiled

if TYPE_CHECKING:
    from leads.environments.system import System

#: Values in all initial states from which compiling pays (some seconds, once a machine and shape): the 128 test
#: trajectories of a published Gray-Scott set.
WORTH_COMPILING = 2**18
#: Most trajectories of small states that a compiled step advances together, and what they are filled up to a multiple of.
COMPILED_CHUNK, COMPILED_MULTIPLE = 512, 64

_kept: weakref.WeakKeyDictionary[System, dict[tuple[object, ...], Callable[..., Any]]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Layout:
    """How a solver wants its batch.

    Attributes:
        field: ``(t, x, p) -> dx/dt`` in this layout.
        batch_last: states ``(C, *X, B)`` and parameters ``(P, B)`` instead of ``(B, C, *X)`` and ``(B, P)``.
        chunk: most trajectories together; ``None`` for all.
        multiple: batches are filled up to a multiple of this.
    """

    field: EachField
    batch_last: bool
    chunk: int | None
    multiple: int = 1


def in_batches(x0: Tensor, p: Tensor, layout: Layout, solve: Callable[..., Tensor]) -> Tensor:
    """Solve ``(B, C, *X)`` with parameters ``(B, P)``: ``(T, B, C, *X)``.

    Args:
        x0, p: the batch.
        layout: what ``solve`` wants.
        solve: ``solve(x, p)`` of one part in that layout, to ``(T, *x.shape)``.

    Raises:
        DivergenceError: with the number of the trajectory in the whole batch.
    """
    chunk = layout.chunk or max(len(x0), 1)
    parts = []
    for first in range(0, len(x0), chunk):
        x, q = x0[first : first + chunk], p[first : first + chunk]
        n = len(x)
        missing = -n % layout.multiple
        if missing:
            x, q = torch.cat([x, x[:1].expand(missing, *x.shape[1:])]), torch.cat([q, q[:1].expand(missing, -1)])
        if layout.batch_last:
            x, q = x.movedim(0, -1).contiguous(), q.mT.contiguous()
        try:
            states = solve(x, q)
        except DivergenceError as error:
            if error.trajectory is not None:
                error.trajectory += first
            raise
        parts.append((states.movedim(-1, 1) if layout.batch_last else states)[:, :n])
    return torch.cat(parts, 1)


def worth_compiling(system: System, x0: Tensor, p: Tensor) -> bool:
    """Whether steps of this batch are to be compiled; never where gradients must pass."""
    if torch.is_grad_enabled() and (x0.requires_grad or p.requires_grad):
        return False
    return repays(x0.numel()) if system.compile is None else system.compile


def even_chunk(n: int) -> int:
    """Trajectories together where ``n`` are split into equal parts, for a step that is compiled for their number."""
    parts = max(1, -(-n // COMPILED_CHUNK))
    return -(-n // (parts * COMPILED_MULTIPLE)) * COMPILED_MULTIPLE


def repays(values: int) -> bool:
    """Whether compiling pays for a set of so many values in its initial states, and can be done here."""
    return values >= WORTH_COMPILING and cannot_compile() is None


def compiled_attempt(system: System, layout: Layout, method: str, dense: bool = False) -> Callable[..., Any]:
    """The compiled attempt of a system; kept, because compiling takes seconds."""
    kept = _kept.setdefault(system, {})
    key = (method, dense)
    if key not in kept:
        kept[key] = compiled(make_attempt(layout.field, method, batch_last=layout.batch_last, dense=dense))
    return kept[key]
