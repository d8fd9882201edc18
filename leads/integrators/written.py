"""Rollouts whose way back is written out instead of recorded, for training: half the operators, and one product for all
the gradients of a weight.

Recording a rollout of a small network costs more than computing it: every operator leaves a node, and the gradient of
every weight is a product and a sum at every evaluation. Written out, the way back propagates derivatives of states alone;
what each layer saw is kept aside, and the gradient of a weight is ONE product over all evaluations at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor

from leads.errors import SettingsError
from leads.integrators.fixed import check_times, common_length, wide_shape
from leads.integrators.tableaus import Tableau, tableau

_ONCE: ContextVar[bool] = ContextVar("gradients are taken once", default=False)


@contextmanager
def gradients_once() -> Iterator[None]:
    """Promises that gradients of rollouts made inside are taken once and not differentiated again.

    Training promises it for the loss that it takes gradients of; what needs second derivatives (inner loops) rolls out
    before.
    """
    token = _ONCE.set(True)
    try:
        yield
    finally:
        _ONCE.reset(token)


def taken_once() -> bool:
    """Whether :func:`gradients_once` was promised."""
    return _ONCE.get()


def refuse_second() -> None:
    """To be called by a written-out way back: raises where it is itself to be differentiated.

    Raises:
        SettingsError: gradients are asked for with ``create_graph``, against the promise.
    """
    if torch.is_grad_enabled():
        raise SettingsError(
            "Gradients of this rollout were promised to be taken once (gradients_once), and are asked for with a graph "
            "of their own (create_graph). Roll out without the promise."
        )


class Passes(Protocol):
    """An autonomous field with a way back of its own; made anew for every rollout."""

    def tensors(self) -> Sequence[Tensor]:
        """What receives gradients besides the states."""
        ...

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        """The field, and what the way back needs of this evaluation."""
        ...

    def begin(self) -> None:
        """Called before a way back: nothing is kept aside yet."""
        ...

    def backward(self, kept: Any, gradient: Tensor) -> Tensor:
        """``gradient^T df/dx`` of the evaluation that kept ``kept``; keeps aside what the tensors' gradients need."""
        ...

    def gradients(self) -> Sequence[Tensor | None]:
        """Those of the tensors, of all evaluations together."""
        ...


def integrate_written(passes: Passes, x0: Tensor, times: Tensor, *, method: str = "rk4", substeps: int = 1) -> Tensor:
    """:func:`leads.integrators.integrate` by written-out passes: the same states, and the same gradients to rounding.

    Args:
        passes: the field; used for this rollout alone.
        x0, times, method, substeps: as for ``integrate``; not the one-step map.

    Returns:
        States at ``times``, shape ``(T, *x0.shape)``; once differentiable in ``x0`` and the passes' tensors (a
        ``SettingsError`` where gradients are asked for with ``create_graph``).
    """
    if times.ndim == 1:
        check_times(times)
    states: Tensor = _Written.apply(passes, tableau(method), substeps, times, x0, *passes.tensors())  # type: ignore[no-untyped-call]
    return states


class _Written(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, passes: Passes, rule: Tableau, substeps: int, times: Tensor, x0: Tensor, *tensors: Tensor
    ) -> Tensor:
        del tensors
        lengths = _lengths(x0, times, substeps)
        x, states, tape = x0, [x0], []
        for h in lengths:
            for _ in range(substeps):
                slopes: list[Tensor] = []
                kept = []
                for row in rule.a:
                    y = x
                    for a, k in zip(row, slopes, strict=True):
                        y = _plus(y, k, h, a)
                    slope, what = passes.forward(y)
                    slopes.append(slope)
                    kept.append(what)
                for b, k in zip(rule.b, slopes, strict=True):
                    x = _plus(x, k, h, b)
                tape.append(kept)
            states.append(x)
        ctx.passes, ctx.rule, ctx.substeps, ctx.lengths, ctx.tape = passes, rule, substeps, lengths, tape
        return torch.stack(states)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        refuse_second()
        passes, rule, steps = ctx.passes, ctx.rule, iter(reversed(ctx.tape))
        passes.begin()
        g = gradient[-1]
        for k in range(len(ctx.lengths) - 1, -1, -1):
            for _ in range(ctx.substeps):
                g = _back(passes, rule, next(steps), ctx.lengths[k], g)
            g = g + gradient[k]
        return None, None, None, None, g, *passes.gradients()


def _back(passes: Passes, rule: Tableau, kept: list[Any], h: float | Tensor, g: Tensor) -> Tensor:
    """The gradient of a step's start from that of its end."""
    # Of every stage's starting state, last stage first.
    starts: dict[int, Tensor] = {}
    total = g
    for i in range(len(rule.b) - 1, -1, -1):
        slope = _times(g, h, rule.b[i])
        for j, y in starts.items():
            a = rule.a[j][i]
            if a:
                slope = _times(y, h, a) if slope is None else _plus(slope, y, h, a)
        if slope is None:
            continue
        starts[i] = passes.backward(kept[i], slope)
        total = total + starts[i]
    return total


def _lengths(x0: Tensor, times: Tensor, substeps: int) -> list[float | Tensor]:
    """Of one step between two times: a number where all entries share it, a tensor that broadcasts where not."""
    if times.ndim == 1:
        return [h / substeps for h in times.to(torch.float64).diff().tolist()]
    wide = wide_shape(x0, times)
    lengths: list[float | Tensor] = []
    for h in times.diff(dim=0) / substeps:
        same = common_length(h)
        lengths.append(h.to(x0).reshape(wide) if same is None else same)
    return lengths


def _plus(x: Tensor, k: Tensor, h: float | Tensor, weight: float) -> Tensor:
    if not weight:
        return x
    return torch.addcmul(x, h, k, value=weight) if isinstance(h, Tensor) else torch.add(x, k, alpha=weight * h)


def _times(k: Tensor, h: float | Tensor, weight: float) -> Tensor | None:
    return None if not weight else k * (weight * h)
