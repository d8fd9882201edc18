"""Batched Levenberg-Marquardt for small contexts.

Every environment has its own damping and accepts or rejects its own steps, so its result does not depend on what is
fitted beside it. One iteration is one rollout (:meth:`leads.adaptation.problem.Problem.linearise`) and one small linear
system (:mod:`leads.adaptation.step`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leads.adaptation.objective import Objective, Weighing
from leads.adaptation.problem import Linear, Point, Problem
from leads.adaptation.step import NOTHING, Normal, information, normal_equations, reduced_gradient, solve
from leads.errors import DivergenceError

LOW, HIGH = 1e-12, 1e12
#: Damping from which on no step downhill is left at this precision.
HOPELESS = 1e8
Box = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Minimum:
    """Where the solver stopped, one row for each start: the point, its linearisation and the quadratic there."""

    point: Point
    linear: Linear
    weighing: Weighing
    converged: Tensor
    iterations: int
    losses: list[list[float]]


@torch.no_grad()
def levenberg_marquardt(
    problem: Problem,
    objective: Objective,
    start: Point,
    iterations: int,
    tolerance: float,
    box: Box | None = None,
) -> Minimum:
    """Minimise each environment's objective.

    Steps that lead to values that are not finite are refused like those that lead uphill. With ``box``, values of the
    context at a bound that the objective pushes outwards are held, and steps are cut at the bounds (projected steps;
    Kanzow, Yamashita and Fukushima 2004, "Levenberg-Marquardt methods with strong local convergence properties for
    solving nonlinear equations with convex constraints").

    An environment has converged where a full Gauss-Newton step promises less than ``tolerance`` of the cost, where steps
    with little damping gain less, or where no step downhill is left at this precision; it has not where the iterations ran
    out, or where every step left the finite numbers.

    Raises:
        DivergenceError: the rollout from all starting points of an environment is not finite.
    """
    best = start if box is None else Point(_into(start.contexts, box), start.initial)
    linear = problem.linearise(best)
    alive = _alive(linear, problem.copies)
    weighing = objective.weigh(linear.residual)
    cost = torch.where(alive, objective.cost(linear.residual, best.contexts, weighing), torch.inf)
    damping = torch.full_like(cost, 1e-3)
    converged, stopped = torch.zeros_like(alive), ~alive
    losses = [cost.tolist()]
    for _ in range(iterations):
        normal = equations(linear, objective, best, weighing)
        held = None if box is None else _held(best.contexts, reduced_gradient(normal, damping), box)
        step = solve(normal, damping, held)
        # What a full Gauss-Newton step promises: once it is nothing, no damping will find more.
        full = solve(normal, torch.full_like(damping, NOTHING), held)
        converged |= ~stopped & (full.promised <= tolerance * cost)
        stopped |= converged
        if bool(stopped.all()):
            break
        trial = best.moved(step.contexts, step.initial)
        if box is not None:
            trial = Point(_into(trial.contexts, box), trial.initial)
        trial = trial.where(stopped, best)
        there = _linearise_moving(problem, trial, linear, ~stopped)
        new_cost = objective.cost(there.residual, trial.contexts, weighing)
        sound = torch.isfinite(new_cost) & there.finite()
        better = sound & (new_cost <= cost) & ~stopped
        # A damped step is a short one, so it gains little far from a minimum too.
        gain = (cost - new_cost) / cost.clamp_min(1e-300) * (1 + damping)
        best, linear = best.where(better, trial), linear.where(better, there)
        cost = torch.where(better, new_cost, cost)
        converged |= (better & (gain < tolerance)) | (~better & sound & ~stopped & (damping >= HOPELESS))
        stopped |= converged | (~sound & (damping >= HOPELESS))
        damping = torch.where(better, damping / 10, damping * 10).clamp(LOW, HIGH)
        if objective.changes:
            weighing = objective.weigh(linear.residual)
            cost = torch.where(alive, objective.cost(linear.residual, best.contexts, weighing), torch.inf)
        losses.append(cost.tolist())
    return Minimum(best, linear, objective.weigh(linear.residual), converged, len(losses) - 1, losses)


def equations(linear: Linear, objective: Objective, point: Point, weighing: Weighing) -> Normal:
    """The normal equations of the quadratic at ``point``."""
    normal = normal_equations(linear, weighing.weights, objective.count)
    if objective.prior is None:
        return normal
    weight = objective.prior_weight(weighing.variance)[:, None]
    prior = objective.prior
    return normal.plus(weight[..., None] * prior.precision, weight * prior.pull(point.contexts))


@torch.no_grad()
def covariance(objective: Objective, minimum: Minimum) -> Tensor:
    """Of the contexts at a minimum, first states left free, shape ``(E, d, d)``.

    ``(J^T J / v + P)^+``, J with the first states eliminated: v is 1 where the noise is known, and the variance of the
    residuals on their remaining degrees of freedom where it is not (for robust losses, see
    :func:`leads.adaptation.robust.variance_factor`); P is the prior's precision.
    """
    inverse = observed_precision(objective, minimum)
    if objective.prior is not None:
        prior = objective.prior.precision
        spread = objective.spread(minimum.linear.residual, minimum.weighing)[:, None, None]
        inverse = inverse + (prior if objective.prior.absolute else prior * objective.count[:, None, None] / spread)
    return torch.linalg.pinv(inverse, hermitian=True)


@torch.no_grad()
def observed_precision(objective: Objective, minimum: Minimum) -> Tensor:
    """``J^T J / v`` of :func:`covariance`: what the observations alone say of the contexts, ``(E, d, d)``."""
    spread = objective.spread(minimum.linear.residual, minimum.weighing)[:, None, None]
    return (
        information(normal_equations(minimum.linear, None, objective.count)) * objective.count[:, None, None] / spread
    )


def _linearise_moving(problem: Problem, trial: Point, last: Linear, moving: Tensor) -> Linear:
    """The linearisation at ``trial``; once half of all rows stand still, only the others are computed."""
    index = moving.nonzero()[:, 0]
    if 2 * len(index) > len(moving):
        return problem.linearise(trial)
    return last.with_rows(index, problem.rows(index).linearise(trial.rows(index)))


def _alive(linear: Linear, copies: int) -> Tensor:
    """Rows that start from finite values; every environment needs one."""
    alive = torch.isfinite(linear.residual).flatten(1).all(1)
    some = alive.unflatten(0, (-1, copies)).any(1)
    if not bool(some.all()):
        raise DivergenceError(
            f"The rollout of new environment {int((~some).nonzero()[0])} from its starting context is not finite, so there "
            "is nothing to improve on. Check the data's scale and units, shorten the trajectory, or train longer."
        )
    return alive & linear.finite()


def _into(contexts: Tensor, box: Box) -> Tensor:
    return torch.minimum(torch.maximum(contexts, box[0]), box[1])


def _held(contexts: Tensor, gradient: Tensor, box: Box) -> Tensor:
    return ((contexts <= box[0]) & (gradient > 0)) | ((contexts >= box[1]) & (gradient < 0))
