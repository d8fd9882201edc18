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
import math

import torch
from torch import Tensor

from leads.adaptation.conjugate_gradients import conjugate_gradients
from leads.adaptation.fit import Fit
from leads.adaptation.levenberg_marquardt import HIGH, HOPELESS, LOW, Box
from leads.adaptation.matrix_free import Penalty, Unknowns, small_step
from leads.adaptation.objective import Objective
from leads.adaptation.prior import Prior, fitted_prior
from leads.adaptation.problem import Problem, flat_start
from leads.adaptation.settings import AdaptSettings
from leads.adaptation.starts import several_starts
from leads.adapters import Context
from leads.contexts.flat import size
from leads.dynamics import DecomposedDynamics
from leads.errors import DivergenceError, SettingsError
from leads.trajectories import Trajectories

#: The first damping, relative to the mean of the diagonal.
FIRST = 1.0
#: Contexts up to this size can have the prior of the seen ones, whose covariance is a matrix.
LARGEST_PRIOR = 2048


def gauss_newton(model: DecomposedDynamics, support: Trajectories, start: Context, settings: AdaptSettings) -> Fit:
    """Contexts of any size, and first states of any size where they are estimated, in float64.

    It minimises the mean square error, or the mean of a robust loss, plus the prior plus the adapter's own penalty on
    adaptation. Robust losses enter by the weights of their residuals, renewed in every iteration; at bounds, values of the
    context that the objective pushes outwards are held while conjugate gradients run, and steps are cut there. Of several
    starts, all fitted in one batch, the best is kept.

    Args:
        model: trained dynamics; a copy is cast, so the model keeps its bits.
        support: observations, finite everywhere.
        start: stacked starting contexts.
        settings: see :class:`AdaptSettings`.

    Raises:
        SettingsError: a prior of the seen contexts, or starts drawn from them, for a context too large for their covariance.
        DivergenceError: the rollout from all starting contexts of an environment is not finite.
    """
    double = copy.deepcopy(model).double().requires_grad_(False)
    start = {k: v.detach().double() for k, v in start.items()}
    support = support.to(dtype=torch.float64)
    estimated, n, d = settings.initial == "estimated", settings.starts or 1, size(start)
    noise = settings.noise_of(support.state_shape[0])
    problem = Problem(double, support, start, estimated, noise)
    prior, origin, box = _prior(settings, model, start), flat_start(start), settings.box(d)
    box = None if box is None else (box[0].to(origin), box[1].to(origin))
    if n > 1:
        if d > LARGEST_PRIOR and box is None:
            raise SettingsError(
                f"Starts are drawn from the covariance of the seen contexts, which for {d} values is too large (at most "
                f"{LARGEST_PRIOR}). Give bounds, within which they are drawn then, or leave starts out."
            )
        origin = several_starts(problem, model.source, start, origin, n, box, settings.seed)
        problem = Problem(double, support, start, estimated, noise, copies=n)
        if prior is not None and len(prior.mean) > 1:
            prior = Prior(prior.mean.repeat_interleave(n, 0), prior.precision, prior.absolute)
    objective = Objective(problem, d, prior, settings.robust, settings.robust_scale)
    solver = _Solver(problem, objective, Penalty(double, support, start, n), d, box)
    return solver.run(origin, settings.iterations, settings.tolerance, settings.seed)


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
    def __init__(
        self, problem: Problem, objective: Objective, penalty: Penalty, d: int, box: Box | None = None
    ) -> None:
        self.problem, self.objective, self.penalty, self.d, self.box = problem, objective, penalty, d, box
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
        u = self._into(self.unknowns.pack(self.problem.start(origin)))
        with torch.no_grad():
            r = self.residual(u)
        alive = torch.isfinite(r).all(1)
        some = alive.unflatten(0, (-1, self.problem.copies)).any(1)
        if not bool(some.all()):
            bad = int((~some).nonzero()[0])
            raise DivergenceError(f"The rollout of new environment {bad} from its starting context is not finite.")
        variance = self.objective.weigh(r[:, None]).variance
        cost, r = self.value(u, variance)
        cost = torch.where(alive, cost, torch.inf)
        damping = torch.full_like(cost, FIRST)
        converged, stopped = torch.zeros_like(alive), ~alive
        generator = torch.Generator().manual_seed(seed)
        losses = [cost.tolist()]
        for _ in range(iterations):
            step, promised = self._step(u, variance, damping, generator)
            converged |= ~stopped & (promised <= tolerance * cost)
            stopped |= converged
            if bool(stopped.all()):
                break
            trial = torch.where(stopped[:, None], u, self._into(u + step))
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
                cost = torch.where(alive, self.value(u, variance)[0], torch.inf)
            losses.append(cost.tolist())
        best = self._best(u, variance)
        point = self.unknowns.point(u)
        notes = {k: [v[i] for i in best.tolist()] for k, v in self.objective.notes(r[:, None]).items()}
        loss = self.problem.mean_square(r[:, None])
        if self.problem.copies > 1:
            each = loss.unflatten(0, (-1, self.problem.copies)).tolist()
            notes["starts"] = [[v if math.isfinite(v) else None for v in row] for row in each]
        initial = None if point.initial is None else point.initial[best].unflatten(2, self.problem.state_shape)
        rows = [[row[i] for i in best.tolist()] for row in losses]
        return Fit(point.contexts[best], None, loss[best], converged[best], len(losses) - 1, rows, initial, notes)

    def _best(self, u: Tensor, variance: Tensor) -> Tensor:
        """The row of each environment that is least by one variance of the noise for all its starts."""
        n = self.problem.copies
        shared = variance.nan_to_num(nan=torch.inf).unflatten(0, (-1, n)).amin(1, keepdim=True).expand(-1, n).flatten()
        merit, _ = self.value(u, shared)
        merit = torch.where(torch.isfinite(merit), merit, torch.inf).unflatten(0, (-1, n))
        return merit.argmin(1) + n * torch.arange(len(merit), device=u.device)

    def _into(self, u: Tensor) -> Tensor:
        """With contexts within the bounds."""
        if self.box is None:
            return u
        contexts = torch.minimum(torch.maximum(u[:, : self.d], self.box[0]), self.box[1])
        return torch.cat([contexts, u[:, self.d :]], 1)

    def _free(self, u: Tensor, gradient: Tensor) -> Tensor | None:
        """0 for values at a bound that the objective pushes outwards, 1 for all others; ``None`` without bounds."""
        if self.box is None:
            return None
        contexts, slope = u[:, : self.d], gradient[:, : self.d]
        held = ((contexts <= self.box[0]) & (slope > 0)) | ((contexts >= self.box[1]) & (slope < 0))
        return torch.nn.functional.pad((~held).to(u), (0, u.shape[1] - self.d), value=1.0)

    def _step(self, u: Tensor, variance: Tensor, damping: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A damped step and the decrease that the quadratic promises for it, by conjugate gradients."""
        count = self.objective.count[:, None]
        with torch.enable_grad():
            leaf = u.detach().requires_grad_()
            r = self.residual(leaf)
        weights = self.objective.weigh(r.detach()[:, None]).weights
        w = 1.0 if weights is None else weights[:, 0]
        backward = lambda x: torch.autograd.grad(r, leaf, w * x, retain_graph=True)[0] / count  # noqa: E731
        contexts = u[:, : self.d]
        weight = self.objective.prior_weight(variance)[:, None]
        prior = self.objective.prior
        slope = self.penalty.gradient(contexts)
        penalised = bool((slope != 0).any())

        def widened(part: Tensor) -> Tensor:
            return torch.nn.functional.pad(part, (0, u.shape[1] - self.d))

        @torch.no_grad()
        def whole(v: Tensor) -> Tensor:
            out, own = backward(self.along(u, v)), v[:, : self.d]
            if penalised:
                out = out + widened(0.5 * self.penalty.curvature(contexts, slope, own))
            return out if prior is None else out + widened(weight * (own @ prior.precision))

        with torch.no_grad():
            g = backward(r.detach()) + widened(0.5 * slope)
            if prior is not None:
                g = g + widened(weight * prior.pull(contexts))
            free = self._free(u, g)
            product = whole
            if free is not None:
                g, product = free * g, lambda v: free * whole(free * v)
            sign = torch.randint(0, 2, u.shape, generator=generator).to(u) * 2 - 1
            # Hutchinson (1990): the mean of z^T A z over random signs z is the trace.
            diagonal = ((sign * product(sign)).sum(1) / u.shape[1]).abs().clamp_min(1e-12)
            return conjugate_gradients(product, g, damping * diagonal)

    @torch.no_grad()
    def along(self, u: Tensor, v: Tensor) -> Tensor:
        """``J v``, shape ``(E, M)``."""
        h = small_step(u, v)
        return (self.residual(u + h * v) - self.residual(u - h * v)) / (2 * h)
