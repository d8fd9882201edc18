"""Gauss-Newton for contexts too large for a Jacobian: no matrix is ever formed.

One iteration solves ``(J^T J / n + P + damping D) step = -gradient`` by conjugate gradients, which need products with J
and with J^T; all environments share each product, and each has its own damping, its own conjugate gradients and accepts
or rejects its own steps. D is the mean of the diagonal, estimated in every iteration from a random probe. This is the
line of the truncated Newton method of Nocedal and Wright, "Numerical optimization" (2006), algorithm 7.1, with the
Gauss-Newton matrix in place of the Hessian and damping in place of the line search.

Products with J^T are one backward pass through the rollout, kept for all products of an iteration. Products with J are
central differences along one direction, in float64: exact to 1e-8, they serve every operator, and on Lotka-Volterra take
10 ms where an eager ``torch.func.jvp`` through the same rollout takes 91 ms.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from leads.adaptation.conjugate_gradients import conjugate_gradients
from leads.adaptation.fit import Fit
from leads.adaptation.levenberg_marquardt import HIGH, HOPELESS, LOW
from leads.adaptation.objective import Objective
from leads.adaptation.prior import Prior, fitted_prior
from leads.adaptation.problem import Point, Problem, flat_start
from leads.adaptation.settings import AdaptSettings
from leads.adapters import Context
from leads.contexts.flat import size, unflatten
from leads.dynamics import DecomposedDynamics
from leads.errors import DivergenceError, SettingsError
from leads.trajectories import Trajectories

#: The first damping, relative to the mean of the diagonal.
FIRST = 1.0
#: Step of differences along one direction, of unit size relative to the point.
STEP = 1e-5
#: Contexts up to this size can have the prior of the seen ones, whose covariance is a matrix.
LARGEST_PRIOR = 2048


@dataclass(frozen=True)
class Unknowns:
    """How the unknowns of an environment, ``(E, u)``, are a context and first states in units of their size."""

    problem: Problem
    size: int

    def pack(self, point: Point) -> Tensor:
        if point.initial is None:
            return point.contexts
        return torch.cat([point.contexts, (point.initial / self.problem.scale).flatten(1)], 1)

    def point(self, u: Tensor) -> Point:
        contexts = u[:, : self.size]
        if not self.problem.estimated:
            return Point(contexts)
        initial = u[:, self.size :].unflatten(1, (self.problem.n_trajectories, -1))
        return Point(contexts, initial * self.problem.scale)


@dataclass(frozen=True)
class Penalty:
    """The adapter's penalty on contexts, with its gradient and products with its curvature.

    The curvature is taken by differences of the gradient, from the gradient at the point: penalties may use operators
    (iterations without gradient) that second derivatives pass over.
    """

    model: DecomposedDynamics
    data: Trajectories
    like: Context

    def value(self, contexts: Tensor) -> Tensor:
        return self.model.adaptation_penalty(unflatten(contexts, self.like), self.data)

    def gradient(self, contexts: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = contexts.detach().requires_grad_()
            value = self.value(leaf).sum()
            if not value.requires_grad:
                return torch.zeros_like(contexts)
            return torch.autograd.grad(value, leaf)[0]

    def curvature(self, contexts: Tensor, here: Tensor, v: Tensor) -> Tensor:
        h = _small(contexts, v)
        return (self.gradient(contexts + h * v) - here) / h


def gauss_newton(model: DecomposedDynamics, support: Trajectories, start: Context, settings: AdaptSettings) -> Fit:
    """Contexts of any size, and first states of any size where they are estimated, in float64.

    It minimises the mean square error plus the prior plus the adapter's own penalty on adaptation.

    Args:
        model: trained dynamics; a copy is cast, so the model keeps its bits.
        support: observations, finite everywhere.
        start: stacked starting contexts.
        settings: see :class:`AdaptSettings`.

    Raises:
        SettingsError: a prior of the seen contexts for a context too large for its covariance.
        DivergenceError: the rollout from an environment's starting context is not finite.
    """
    double = copy.deepcopy(model).double().requires_grad_(False)
    start = {k: v.detach().double() for k, v in start.items()}
    support = support.to(dtype=torch.float64)
    estimated = settings.initial == "estimated"
    problem = Problem(double, support, start, estimated, settings.noise_of(support.state_shape[0]))
    prior = _prior(settings, model, start)
    objective = Objective(problem, size(start), prior)
    return _Solver(problem, objective, Penalty(double, support, start), size(start)).run(
        flat_start(start), settings.iterations, settings.tolerance, settings.seed
    )


def _prior(settings: AdaptSettings, model: DecomposedDynamics, start: Context) -> Prior | None:
    if not settings.prior:
        return None
    if size(start) > LARGEST_PRIOR:
        raise SettingsError(
            f"A prior on {size(start)} values of a context would need their covariance, at most {LARGEST_PRIOR} are possible. "
            "Leave prior out: the method's own penalty holds the context."
        )
    return fitted_prior(settings.prior, model.source, start)


class _Solver:
    def __init__(self, problem: Problem, objective: Objective, penalty: Penalty, d: int) -> None:
        self.problem, self.objective, self.penalty, self.d = problem, objective, penalty, d
        self.unknowns = Unknowns(problem, d)

    def residual(self, u: Tensor) -> Tensor:
        return self.problem.residual(self.unknowns.point(u)).flatten(1)

    @torch.no_grad()
    def value(self, u: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Cost and mean-square part's residuals at ``u``."""
        r = self.residual(u)
        contexts = u[:, : self.d]
        cost = self.objective.merit(r[:, None], contexts, variance) + self.penalty.value(contexts)
        return cost, r

    def run(self, origin: Tensor, iterations: int, tolerance: float, seed: int) -> Fit:
        u = self.unknowns.pack(self.problem.start(origin))
        with torch.no_grad():
            r = self.residual(u)
        if not bool(torch.isfinite(r).all()):
            bad = int((~torch.isfinite(r).all(1)).nonzero()[0])
            raise DivergenceError(f"The rollout of new environment {bad} from its starting context is not finite.")
        variance = self.objective.weigh(r[:, None]).variance
        cost, r = self.value(u, variance)
        damping = torch.full_like(cost, FIRST)
        converged, stopped = torch.zeros_like(cost, dtype=torch.bool), torch.zeros_like(cost, dtype=torch.bool)
        generator = torch.Generator().manual_seed(seed)
        losses = [cost.tolist()]
        for _ in range(iterations):
            step, promised = self._step(u, variance, damping, generator)
            converged |= ~stopped & (promised <= tolerance * cost)
            stopped |= converged
            if bool(stopped.all()):
                break
            trial = torch.where(stopped[:, None], u, u + step)
            new_cost, new_r = self.value(trial, variance)
            sound = torch.isfinite(new_cost)
            better = sound & (new_cost <= cost) & ~stopped
            gain = (cost - new_cost) / cost.clamp_min(1e-300) * (1 + damping)
            cost_before = cost
            u, r = torch.where(better[:, None], trial, u), torch.where(better[:, None], new_r, r)
            cost = torch.where(better, new_cost, cost)
            converged |= (better & (gain < tolerance)) | (~better & sound & ~stopped & (damping >= HOPELESS))
            stopped |= converged | (~sound & (damping >= HOPELESS))
            # Trust grows where the quadratic kept its promise, and shrinks where it did not (Marquardt 1963; the usual
            # quarters of trust-region methods, Nocedal and Wright 2006, algorithm 4.1).
            kept = torch.where(better, (cost_before - new_cost) / promised.clamp_min(1e-300), -torch.ones_like(cost))
            factor = torch.where(kept > 0.75, 0.2, torch.where(kept > 0.25, 1.0, torch.where(kept > 0, 2.0, 5.0)))
            damping = (damping * factor).clamp(LOW, HIGH)
            if self.objective.changes:
                variance = self.objective.weigh(r[:, None]).variance
                cost, _ = self.value(u, variance)
            losses.append(cost.tolist())
        point = self.unknowns.point(u)
        notes = self.objective.notes(r[:, None])
        initial = None if point.initial is None else point.initial.unflatten(2, self.problem.state_shape)
        loss = self.problem.mean_square(r[:, None])
        return Fit(point.contexts, None, loss, converged, len(losses) - 1, losses, initial, notes)

    def _step(self, u: Tensor, variance: Tensor, damping: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A damped step and the decrease that the quadratic promises for it, by conjugate gradients."""
        count = self.objective.count[:, None]
        with torch.enable_grad():
            leaf = u.detach().requires_grad_()
            r = self.residual(leaf)
        backward = lambda w: torch.autograd.grad(r, leaf, w, retain_graph=True)[0] / count  # noqa: E731
        contexts = u[:, : self.d]
        weight = self.objective.prior_weight(variance)[:, None]
        prior = self.objective.prior
        slope = self.penalty.gradient(contexts)
        penalised = bool((slope != 0).any())

        def widened(part: Tensor) -> Tensor:
            return torch.nn.functional.pad(part, (0, u.shape[1] - self.d))

        @torch.no_grad()
        def product(v: Tensor) -> Tensor:
            out, own = backward(self.along(u, v)), v[:, : self.d]
            if penalised:
                out = out + widened(0.5 * self.penalty.curvature(contexts, slope, own))
            return out if prior is None else out + widened(weight * (own @ prior.precision))

        with torch.no_grad():
            g = backward(r.detach()) + widened(0.5 * slope)
            if prior is not None:
                g = g + widened(weight * prior.pull(contexts))
            sign = torch.randint(0, 2, u.shape, generator=generator).to(u) * 2 - 1
            # Hutchinson (1990): the mean of z^T A z over random signs z is the trace.
            diagonal = ((sign * product(sign)).sum(1) / u.shape[1]).abs().clamp_min(1e-12)
            return conjugate_gradients(product, g, damping * diagonal)

    @torch.no_grad()
    def along(self, u: Tensor, v: Tensor) -> Tensor:
        """``J v``, shape ``(E, M)``."""
        h = _small(u, v)
        return (self.residual(u + h * v) - self.residual(u - h * v)) / (2 * h)


def _small(u: Tensor, v: Tensor) -> Tensor:
    """Step along ``v`` for central differences, one for each environment, shape ``(E, 1)``."""
    size = (u.square().mean(1, keepdim=True).sqrt() + 1).clamp_min(1.0)
    return STEP * size / v.square().mean(1, keepdim=True).sqrt().clamp_min(1e-300)
