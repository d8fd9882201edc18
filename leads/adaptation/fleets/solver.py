"""Levenberg-Marquardt for very many environments: those that have converged cost nothing more."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leads.adaptation.fleets.normal_equations import Normal, NormalEquations, by_tangents
from leads.adaptation.settings import AdaptSettings
from leads.dynamics import DecomposedDynamics
from leads.trajectories.segments import Segments

LOW, HIGH = 1e-12, 1e12
#: Promised relative decrease at which float32 hands over to float64; the last step leads far below it.
QUICK = 1e-3


@dataclass(frozen=True)
class Minimum:
    """Contexts ``(E, d)``, the normal equations there, and of each environment whether it converged, whether its start
    was sound, and how many steps it tried."""

    contexts: Tensor
    normal: Normal
    converged: Tensor
    sound: Tensor
    iterations: Tensor


@torch.no_grad()
def minimise(
    equations: NormalEquations,
    start: Tensor,
    origin: Tensor,
    prior: float,
    tolerance: float,
    iterations: int,
    floor: Tensor | float = 0.0,
    parting: bool = False,
) -> Minimum:
    """Minimise each environment's mean square error plus ``prior |c - origin|^2``.

    Every environment has its own damping and accepts or rejects its own steps. One iteration evaluates those that have
    not converged and no others.

    Args:
        equations: of the E environments.
        start: contexts to start from, ``(E, d)``, float64.
        origin: contexts that the prior draws to.
        prior: its weight.
        tolerance: an expected or found decrease below this part of the cost counts as converged.
        iterations: the most for one environment.
        floor: an expected decrease below it counts as converged as well (what rounding lets see), scalar or ``(E,)``.
        parting: take the last full step of those that converged too, untried: for what is refined in a higher precision.
    """
    e, d = start.shape
    rows = torch.arange(e, device=start.device)
    floor = torch.as_tensor(floor, dtype=start.dtype, device=start.device).expand(e)
    best, normal = start.clone(), equations(rows, start)
    sound = _finite(normal)
    damping, tried = start.new_full((e,), 1e-3), torch.zeros_like(rows)
    converged = torch.zeros_like(sound)
    eye = torch.eye(d, dtype=start.dtype, device=start.device)
    for _ in range(iterations + 1):
        rows = (sound & ~converged & (damping < 1e8)).nonzero()[:, 0]
        if not len(rows):
            break
        here, shift = normal.take(rows), best[rows] - origin[rows]
        cost = here.cost + prior * shift.square().sum(1)
        gradient, hessian = here.gradient + prior * shift, here.hessian + prior * eye
        scale = hessian.diagonal(dim1=1, dim2=2).clamp_min(1e-12)
        # What a full Gauss-Newton step promises: once it is nothing, no damping will find more.
        full = torch.linalg.solve_ex(hessian + torch.diag_embed(1e-12 * scale), -gradient)[0]
        promise = -(full * gradient).sum(1)
        enough = promise <= tolerance * cost + floor[rows]
        converged[rows] = enough
        if parting:
            best[rows] = torch.where(enough[:, None], best[rows] + full, best[rows])
        going = ~enough & (tried[rows] < iterations)
        if not bool(going.any()):
            break
        rows, cost, gradient = rows[going], cost[going], gradient[going]
        damped = hessian[going] + torch.diag_embed(damping[rows, None] * scale[going])
        trial = best[rows] + torch.linalg.solve_ex(damped, -gradient)[0]
        there = equations(rows, trial)
        new_cost = there.cost + prior * (trial - origin[rows]).square().sum(1)
        better = _finite(there) & (new_cost <= cost)
        decrease = torch.where(better, (cost - new_cost) / cost.clamp_min(1e-300), torch.zeros_like(cost))
        best[rows] = torch.where(better[:, None], trial, best[rows])
        kept = there.where(better, normal.take(rows))
        for name in ("cost", "gradient", "hessian"):
            getattr(normal, name)[rows] = getattr(kept, name)
        tried[rows] += 1
        converged[rows] = better & (decrease < tolerance)
        damping[rows] = torch.where(better, damping[rows] / 10, damping[rows] * 10).clamp(LOW, HIGH)
    # A hopeless damping means that no downhill step is left at this precision: a minimum as well.
    return Minimum(best, normal, converged | (sound & (damping >= 1e8)), sound, tried)


def _finite(normal: Normal) -> Tensor:
    sums = normal.cost + normal.gradient.sum(1) + normal.hessian.sum((1, 2))
    return torch.isfinite(sums)


@torch.no_grad()
def solve(
    model: DecomposedDynamics,
    data: Segments,
    origin: Tensor,
    settings: AdaptSettings,
    compile: bool = False,
) -> Minimum | None:
    """Contexts of E environments by tangents: a start from single steps, float32, and the end in float64.

    The start minimises the error of a few single steps from observed frames, which is nearly linear in the code: it costs
    a third of one iteration and saves about two. It is a start and no more: environments that do not converge from it
    begin again from ``origin``.

    Returns:
        ``None`` where the model's adapter knows no tangents (see :func:`by_tangents`).
    """
    exact = by_tangents(model, data, torch.float64, compile)
    if exact is None:
        return None
    quick = by_tangents(model, data, torch.float32, compile)
    steps = by_tangents(model, single_steps(data), torch.float32) if data.observed is None else None
    assert quick is not None
    # What a decrease of the cost means in float32, whose rollouts are exact to some of its last bits.
    floor = 1e-13 * data.target.double().square().flatten(1).mean(1)
    scale = settings.prior or 0.0, settings.tolerance, settings.iterations

    def refine(rows: Tensor, start: Tensor) -> Minimum:
        local = lambda f: lambda r, c: f(rows[r], c)  # noqa: E731
        o = origin[rows]
        rough = minimise(local(quick), start, o, scale[0], QUICK, scale[2], floor[rows], parting=True)
        fine = minimise(local(exact), rough.contexts, o, *scale)
        return replace(fine, iterations=rough.iterations + fine.iterations)

    everyone = torch.arange(len(origin), device=origin.device)
    found = refine(everyone, origin if steps is None else _one_step(steps, origin, scale[0]))
    again = (~(found.sound & found.converged)).nonzero()[:, 0]
    if steps is None or not len(again):
        return found
    second = refine(again, origin[again])
    return _better(found, second, again)


def single_steps(data: Segments) -> Segments:
    """Every third step between two frames of ``data`` as a segment of its own, side by side."""
    frames = torch.cat([data.initial[:, :, None], data.target], 2)
    picked = torch.arange(0, data.target.shape[2], 3)
    n = frames.shape[1]
    times = torch.stack([data.times[picked], data.times[picked + 1]])
    if bool(torch.isclose(times.diff(dim=0), times[1, 0] - times[0, 0], rtol=1e-12).all()):
        times = times[:, 0]
    else:
        times = times.repeat(1, n)[:, None]
    first, second = frames[:, :, picked].flatten(1, 2), frames[:, :, picked + 1].flatten(1, 2)
    return Segments(first, second[:, :, None], times)


def _one_step(equations: NormalEquations, origin: Tensor, prior: float) -> Tensor:
    """One Gauss-Newton step from ``origin``; none where it is not finite."""
    here = equations(torch.arange(len(origin), device=origin.device), origin)
    scale = here.hessian.diagonal(dim1=1, dim2=2).clamp_min(1e-12) * 1e-6 + prior
    step = torch.linalg.solve_ex(here.hessian + torch.diag_embed(scale), -here.gradient)[0]
    return origin + torch.where(torch.isfinite(step).all(1, keepdim=True), step, torch.zeros_like(step))


def _better(first: Minimum, second: Minimum, rows: Tensor) -> Minimum:
    """``first`` with what ``second`` found for these rows, where that is lower."""
    old = first.normal.take(rows)
    lower = second.sound & ~(first.sound[rows] & (old.cost <= second.normal.cost))
    at = rows[lower]
    for mine, its in (
        (first.contexts, second.contexts),
        (first.converged, second.converged),
        (first.sound, second.sound),
        *((getattr(first.normal, k), getattr(second.normal, k)) for k in ("cost", "gradient", "hessian")),
    ):
        mine[at] = its[lower]
    first.iterations[rows] += second.iterations
    return first
