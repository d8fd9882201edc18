"""Levenberg-Marquardt as adaptation uses it: one or several starts, the best kept, with its covariance."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from leads.adaptation.doubt import STARTS, noise_bound, open_directions, poor_fits, seen_covariance
from leads.adaptation.fit import Fit
from leads.adaptation.levenberg_marquardt import Minimum, covariance, levenberg_marquardt, observed_precision
from leads.adaptation.objective import Objective, Weighing
from leads.adaptation.prior import Prior, fitted_prior
from leads.adaptation.problem import Linear, Problem, flat_start
from leads.adaptation.settings import SEEN, AdaptSettings
from leads.adaptation.starts import several_starts
from leads.adaptation.support import warn_too_few
from leads.adapters import Context
from leads.adapters.pinned import Pinned
from leads.contexts.flat import size
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError
from leads.trajectories import Trajectories

#: Why an environment was solved again.
REASONS = ("poor fit", "open direction")


def fit_small(model: DecomposedDynamics, support: Trajectories, start: Context, settings: AdaptSettings) -> Fit:
    """Contexts by Levenberg-Marquardt, in float64.

    With ``starts=None``, environments whose first solve is in doubt are solved again (:mod:`leads.adaptation.doubt`),
    and the note ``restarted`` says why, ``None`` for all others.

    Args:
        model: trained dynamics; a copy is cast, so the model keeps its bits.
        support: observations, finite everywhere.
        start: stacked starting contexts.
        settings: see :class:`AdaptSettings`.

    Raises:
        SettingsError: the Jacobian would be too large, or settings do not fit the model or the data.
        DivergenceError: no start of an environment has a finite rollout.
    """
    _check_size(size(start), support, settings, settings.initial == "estimated")
    double = copy.deepcopy(model).double().requires_grad_(False)
    start = {k: v.detach().double() for k, v in start.items()}
    support = support.to(dtype=torch.float64)
    seen = seen_covariance(model.source, start) if settings.starts is None else None
    once = replace(settings, starts=settings.starts or 1)
    able = settings.starts is None and (seen is not None or settings.bounds is not None)
    fit, minimum, objective = _solved(double, support, start, once, able and seen is not None)
    if not able:
        return fit
    poor, opened = _doubts(fit, minimum, objective, support, seen)
    again = (poor | opened).nonzero()[:, 0]
    if not len(again):
        return fit
    prior = SEEN if settings.prior is None and seen is not None else settings.prior
    second = replace(settings, starts=STARTS, prior=prior)
    part = support.select(environments=again.tolist())
    found, _, _ = _solved(_of_rows(double, again), part, {k: v[again] for k, v in start.items()}, second, False)
    reasons = [
        REASONS[0] if p else REASONS[1] if o else None for p, o in zip(poor.tolist(), opened.tolist(), strict=True)
    ]
    whole = fit.with_rows(again, found)
    return replace(whole, notes=whole.notes | {"restarted": reasons})


def _doubts(
    fit: Fit, minimum: Minimum, objective: Objective, support: Trajectories, seen: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Poor fits, and fits that leave a direction open, ``(E,)`` each."""
    poor = poor_fits(*objective.unexplained(minimum.linear.residual), support)
    if seen is None or objective.prior is not None:
        return poor, torch.zeros_like(fit.converged)
    bound = torch.ones_like(fit.loss) if objective.known else noise_bound(objective.surplus)
    count, unknowns = objective.count, objective.count - objective.surplus
    return poor, open_directions(observed_precision(objective, minimum), bound, seen, count, unknowns)


def _of_rows(model: DecomposedDynamics, index: Tensor) -> DecomposedDynamics:
    """The dynamics of some of the environments, where these hold entries of their contexts."""
    adapter = model.adapter
    if not isinstance(adapter, Pinned):
        return model
    return model.with_adapter(Pinned(adapter.adapter, {k: v[index] for k, v in adapter.entries.items()}))


def _solved(
    double: DecomposedDynamics, support: Trajectories, start: Context, settings: AdaptSettings, carried: bool
) -> tuple[Fit, Minimum, Objective]:
    """One solve from ``settings.starts`` starts, with the minimum and the objective of the best."""
    estimated = settings.initial == "estimated"
    noise = settings.noise_of(support.state_shape[0])
    problem = Problem(double, support, start, estimated, noise)
    d, origin, n = size(start), flat_start(start), settings.starts or 1
    prior = fitted_prior(settings.prior, double.source, start)
    if prior is None:
        warn_too_few(problem.count, d, problem.state_size, problem.n_trajectories, carried)
    box = settings.box(d)
    box = None if box is None else (box[0].to(origin), box[1].to(origin))
    if n > 1:
        origin = several_starts(problem, double.source, start, origin, n, box, settings.seed)
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
    return _fit(minimum, problem, objective, notes), minimum, objective


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
