"""L-BFGS for many independent problems at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: Sufficient decrease of a step, and the least share to which a line search cuts it.
DECREASE, HALVINGS = 1e-4, 20


@dataclass(frozen=True)
class Minimum:
    """What :func:`minimise` found for each of B problems.

    Attributes:
        x: ``(B, D)``.
        value: ``(B,)``.
        history: the values after every iteration, ``(iterations + 1, B)``.
        converged: whether the gradient fell to the tolerance, ``(B,)``.
    """

    x: Tensor
    value: Tensor
    history: Tensor
    converged: Tensor


def minimise(
    objective: Callable[[Tensor], Tensor],
    x: Tensor,
    iterations: int = 50,
    memory: int = 10,
    tolerance: float = 1e-4,
) -> Minimum:
    """Minimise B functions of D numbers each by limited-memory BFGS with backtracking, side by side.

    Every row has its own memory, step and line search, so its result does not depend on the rows beside it; a row that has
    converged stays
    where it is. Where a line search fails, the row forgets its memory and starts again downhill; where that
    fails too, it stays. Values that are not finite count as too large.

    Args:
        objective: ``(B, D)`` to values ``(B,)``, each of its own row alone.
        x: start.
        iterations: most iterations.
        memory: pairs of steps and changes of the gradient that are kept.
        tolerance: a row has converged where the norm of its gradient is below this share of that at its start.

    Source: Nocedal and Wright (2006), Numerical Optimization, algorithms 7.4 and 3.1; pairs without positive curvature
    are left out.
    """
    x = x.detach()
    value, gradient = _evaluate(objective, x)
    first = gradient.norm(dim=1)
    stuck = ~torch.isfinite(value)
    steps: list[Tensor] = []
    changes: list[Tensor] = []
    history = [value]
    fresh = torch.ones_like(stuck)
    slack = 4 * torch.finfo(x.dtype).eps
    for _ in range(iterations):
        done = stuck | (gradient.norm(dim=1) <= tolerance * first)
        if bool(done.all()):
            break
        direction = _direction(gradient, steps, changes)
        slope = (direction * gradient).sum(1)
        downhill = slope < 0
        direction = torch.where(downhill[:, None], direction, -gradient)
        slope = torch.where(downhill, slope, -gradient.square().sum(1))
        length = torch.where(fresh, 1.0 / gradient.norm(dim=1).clamp_min(1.0), 1.0)
        best, best_value, best_gradient = x, value, gradient
        open_rows = ~done
        for _ in range(HALVINGS):
            trial = torch.where(open_rows[:, None], x + length[:, None] * direction, best)
            trial_value, trial_gradient = _evaluate(objective, trial)
            good = open_rows & (trial_value <= value + DECREASE * length * slope + slack * value.abs())
            best = torch.where(good[:, None], trial, best)
            best_value = torch.where(good, trial_value, best_value)
            best_gradient = torch.where(good[:, None], trial_gradient, best_gradient)
            open_rows = open_rows & ~good
            if not bool(open_rows.any()):
                break
            length = torch.where(open_rows, 0.5 * length, length)
        stuck = stuck | (open_rows & fresh)
        fresh = torch.where(done, fresh, open_rows)
        forget = open_rows[:, None]
        steps = [torch.where(forget, 0.0, s) for s in [*steps, best - x][-memory:]]
        changes = [torch.where(forget, 0.0, y) for y in [*changes, best_gradient - gradient][-memory:]]
        x, value, gradient = best, best_value, best_gradient
        history.append(value)
    converged = gradient.norm(dim=1) <= tolerance * first
    return Minimum(x, value, torch.stack(history), converged)


def _evaluate(objective: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Values and gradients, infinite and 0 where a value is not finite."""
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        value = objective(at)
        (gradient,) = torch.autograd.grad(value.sum(), at)
    good = torch.isfinite(value) & torch.isfinite(gradient).all(1)
    return torch.where(good, value.detach(), torch.inf), torch.where(good[:, None], gradient, 0.0)


def _direction(gradient: Tensor, steps: list[Tensor], changes: list[Tensor]) -> Tensor:
    """``-H g`` by the two-loop recursion; pairs without positive curvature have weight 0."""
    q = gradient
    kept: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    scale = torch.ones_like(gradient[:, 0])
    for s, y in zip(steps, changes, strict=True):
        curvature, size = (s * y).sum(1), y.square().sum(1)
        use = curvature > 1e-10 * s.norm(dim=1) * y.norm(dim=1)
        rho = torch.where(use, 1 / torch.where(use, curvature, 1.0), 0.0)
        scale = torch.where(use, curvature / torch.where(use, size, 1.0), scale)
        kept.append((s, y, rho, torch.zeros_like(rho)))
    for i in reversed(range(len(kept))):
        s, y, rho, _ = kept[i]
        alpha = rho * (s * q).sum(1)
        kept[i] = (s, y, rho, alpha)
        q = q - alpha[:, None] * y
    q = scale[:, None] * q
    for s, y, rho, alpha in kept:
        beta = rho * (y * q).sum(1)
        q = q + (alpha - beta)[:, None] * s
    return -q
