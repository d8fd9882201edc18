"""Levenberg-Marquardt as adaptation uses it: one or several starts, the best kept, with its covariance."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from leads.adaptation.fit import Fit
from leads.adaptation.levenberg_marquardt import Minimum, covariance, levenberg_marquardt
from leads.adaptation.objective import Objective, Weighing
from leads.adaptation.prior import Prior, fitted_prior
from leads.adaptation.problem import Linear, Problem, flat_start
from leads.adaptation.settings import AdaptSettings
from leads.adaptation.starts import several_starts
from leads.adaptation.support import warn_too_few
from leads.adapters import Context
from leads.contexts.flat import size
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError
from leads.trajectories import Trajectories


def fit_small(model: DecomposedDynamics, support: Trajectories, start: Context, settings: AdaptSettings) -> Fit:
    """Contexts by Levenberg-Marquardt, in float64.

    Args:
        model: trained dynamics; a copy is cast, so the model keeps its bits.
        support: observations, finite everywhere.
        start: stacked starting contexts.
        settings: see :class:`AdaptSettings`.

    Raises:
        SettingsError: the Jacobian would be too large, or settings do not fit the model or the data.
        DivergenceError: no start of an environment has a finite rollout.
    """
    estimated = settings.initial == "estimated"
    _check_size(size(start), support, settings, estimated)
    double = copy.deepcopy(model).double().requires_grad_(False)
    start = {k: v.detach().double() for k, v in start.items()}
    support = support.to(dtype=torch.float64)
    noise = settings.noise_of(support.state_shape[0])
    problem = Problem(double, support, start, estimated, noise)
    d, origin, n = size(start), flat_start(start), settings.starts
    prior = fitted_prior(settings.prior, model.source, start)
    if prior is None:
        warn_too_few(problem.count, d, problem.state_size, problem.n_trajectories)
    box = settings.box(d)
    box = None if box is None else (box[0].to(origin), box[1].to(origin))
    if n > 1:
        origin = several_starts(problem, model.source, start, origin, n, box, settings.seed)
        problem = Problem(double, support, start, estimated, noise, copies=n)
        if prior is not None and len(prior.mean) > 1:
            prior = Prior(prior.mean.repeat_interleave(n, 0), prior.precision, prior.absolute)
    objective = Objective(problem, d, prior, settings.robust, settings.robust_scale)
    minimum = levenberg_marquardt(
        problem, objective, problem.start(origin), settings.iterations, settings.tolerance, box
    )
    notes: dict[str, Any] = {}
    if n > 1:
        minimum, problem, objective, notes = _best(minimum, problem, objective, n, settings, d)
    return _fit(minimum, problem, objective, notes)


def _fit(minimum: Minimum, problem: Problem, objective: Objective, notes: dict[str, Any]) -> Fit:
    initial = minimum.point.initial
    loss = problem.mean_square(minimum.linear.residual)
    notes |= objective.notes(minimum.linear.residual)
    return Fit(
        minimum.point.contexts,
        covariance(objective, minimum),
        loss,
        minimum.converged,
        minimum.iterations,
        minimum.losses,
        None if initial is None else initial.unflatten(2, problem.state_shape),
        notes,
    )


def _best(
    minimum: Minimum, problem: Problem, objective: Objective, n: int, settings: AdaptSettings, d: int
) -> tuple[Minimum, Problem, Objective, dict[str, Any]]:
    """The best of each environment's n minima, with a problem of one row for each, and the losses of all."""
    residual = minimum.linear.residual
    # One variance for all starts of an environment: their objectives are then the same function.
    variance = torch.nan_to_num(minimum.weighing.variance, nan=torch.inf).unflatten(0, (-1, n))
    shared = variance.amin(1, keepdim=True).expand_as(variance).flatten()
    merit = objective.merit(residual, minimum.point.contexts, shared).unflatten(0, (-1, n))
    merit = torch.where(torch.isfinite(merit), merit, torch.inf)
    chosen = merit.argmin(1) + n * torch.arange(len(merit), device=merit.device)
    linear, weighing = minimum.linear, minimum.weighing
    kept = Minimum(
        minimum.point.rows(chosen),
        Linear(
            linear.residual[chosen], linear.contexts[chosen], None if linear.initial is None else linear.initial[chosen]
        ),
        Weighing(None if weighing.weights is None else weighing.weights[chosen], weighing.variance[chosen]),
        minimum.converged[chosen],
        minimum.iterations,
        [[row[i] for i in chosen.tolist()] for row in minimum.losses],
    )
    losses = problem.mean_square(residual).unflatten(0, (-1, n))
    notes = {"starts": [[v if v < float("inf") else None for v in row] for row in _finite(losses)]}
    single = problem.single()
    prior = objective.prior
    if prior is not None and len(prior.mean) > 1:
        prior = Prior(prior.mean[chosen], prior.precision, prior.absolute)
    return kept, single, Objective(single, d, prior, settings.robust, settings.robust_scale), notes


def _finite(losses: Tensor) -> list[list[float]]:
    return torch.where(torch.isfinite(losses), losses, torch.inf).tolist()


def _check_size(d: int, support: Trajectories, settings: AdaptSettings, estimated: bool) -> None:
    states = support.states[0, 0, 0].numel() if estimated else 0
    most = 4 * settings.small
    if d > most:
        raise SettingsError(
            f"levenberg_marquardt would form a Jacobian in {d} directions per environment. Use solver='gauss_newton', which "
            "forms none, or solver='gradient', or raise small if you mean it."
        )
    if states > settings.small:
        raise SettingsError(
            f"levenberg_marquardt would form a Jacobian in the {states} values of every first state, more than small = "
            f"{settings.small}. Use solver='gauss_newton', which forms none and estimates first states of any size, or "
            "solver='gradient', or raise small if you mean it."
        )
