"""Adapting one chunk of a fleet: many environments at once, none of which can stop the others."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from leads.adaptation.adapt import adapt
from leads.adaptation.adapted import Adapted
from leads.adaptation.fleet_solver import Minimum, minimise, solve
from leads.adaptation.normal_equations import by_differences
from leads.adaptation.settings import AdaptSettings
from leads.adapters import Context
from leads.adapters.adapter import WeightAdapter
from leads.contexts.flat import flatten, size, unflatten
from leads.dynamics import DecomposedDynamics
from leads.errors import DivergenceError
from leads.trajectories import Trajectories
from leads.trajectories.segments import whole

#: What the fleet's own solver knows; a setting beyond these that is not at its default goes through :func:`leads.adapt`.
PLAIN = {"solver", "small", "iterations", "tolerance", "prior", "steps", "lr", "seed"}


@dataclass(frozen=True)
class ChunkFit:
    """Contexts of E environments and, for each ``(E,)``, its loss (NaN where the rollout from its start is not finite),
    whether it converged, iterations, and the noise's standard deviation (NaN without a degree of freedom); covariance
    ``(E, d, d)``, NaN where the solver forms none."""

    contexts: Context
    covariance: Tensor
    loss: Tensor
    converged: Tensor
    iterations: Tensor
    noise: Tensor


def fit_chunk(
    model: DecomposedDynamics, support: Trajectories, settings: AdaptSettings, compile: bool, memory: int
) -> ChunkFit:
    """Adapt to every environment of ``support``.

    Least squares over small contexts run in the fleet's own solver, all others through :func:`leads.adapt`.

    Args:
        model: trained dynamics.
        support: observations of E environments.
        settings: of the adaptation.
        compile: compile the field, where the model's adapter knows its tangents.
        memory: bytes that one batch of rollouts may take.
    """
    like = next(iter([*model.parameters(), support.states]))
    support = support.to(like.device, like.dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        start = model.source.new_contexts(model, support)
    if not _plain(model, start, settings):
        return _by_adapt(model, support, settings)
    origin = flatten(start).double()
    double = copy.deepcopy(model).double().requires_grad_(False)
    data = whole(support.to(dtype=torch.float64), model.history)
    found = solve(double, data, origin, settings, compile)
    if found is None:
        weights = sum(p.numel() for p in model.parameters()) if isinstance(model.adapter, WeightAdapter) else 0
        wide = {k: v.detach().double() for k, v in start.items()}
        equations = by_differences(double, data, wide, memory, weights)
        found = minimise(equations, origin, origin, settings.prior, settings.tolerance, settings.iterations)
    return _result(
        found, data.count(data.target).double().expand(len(origin)), {k: v.to(like) for k, v in start.items()}
    )


def _plain(model: DecomposedDynamics, start: Context, settings: AdaptSettings) -> bool:
    """Whether this is a least-squares fit of small contexts and nothing else."""
    default = AdaptSettings()
    beyond = any(getattr(settings, f.name) != getattr(default, f.name) for f in fields(settings) if f.name not in PLAIN)
    if beyond or model.adapter.known or not 0 < size(start) <= settings.small:
        return False
    return settings.solver == "levenberg_marquardt" or (settings.solver == "auto" and not model.source.complete)


def _result(found: Minimum, count: Tensor, like: Context) -> ChunkFit:
    loss = torch.where(found.sound, found.normal.cost, torch.nan)
    d = found.contexts.shape[1]
    variance = loss * count / (count - d).clamp_min(1)
    hessian = torch.where(found.sound[:, None, None], found.normal.hessian, 0.0)
    covariance = (variance / count)[:, None, None] * torch.linalg.pinv(hessian, hermitian=True)
    contexts = {k: v.to(like[k]) for k, v in unflatten(found.contexts, like).items()}
    noise = torch.where(count > d, variance.sqrt(), torch.nan)
    return ChunkFit(contexts, covariance, loss, found.converged, found.iterations, noise)


def _by_adapt(model: DecomposedDynamics, support: Trajectories, settings: AdaptSettings) -> ChunkFit:
    """Through :func:`leads.adapt`; halves find the environments whose start is not finite at the cost of a few more calls."""
    try:
        return _of_adapted(adapt(model, support, settings), support)
    except DivergenceError:
        e = support.n_environments
        if e == 1:
            like = next(iter([*model.parameters(), support.states]))
            start = model.source.new_contexts(model, support)
            nothing = like.new_full((1,), torch.nan, dtype=torch.float64)
            no = torch.zeros(1, dtype=torch.bool, device=like.device)
            covariance = nothing.reshape(1, 1, 1).expand(1, size(start), size(start))
            return ChunkFit(start, covariance, nothing, no, no.long(), nothing)
        parts = [
            _by_adapt(model, support.select(environments=part), settings)
            for part in (slice(0, e // 2), slice(e // 2, None))
        ]
        join = lambda name: torch.cat([getattr(p, name) for p in parts])  # noqa: E731
        contexts = {k: torch.cat([p.contexts[k] for p in parts]) for k in parts[0].contexts}
        return ChunkFit(contexts, *(join(f.name) for f in fields(ChunkFit) if f.name != "contexts"))


def _of_adapted(adapted: Adapted, support: Trajectories) -> ChunkFit:
    e, info = support.n_environments, adapted.info
    d = size(adapted.contexts)
    like = support.states.new_zeros((), dtype=torch.float64)
    loss = torch.as_tensor(info.get("loss", [torch.nan] * e)).to(like)
    count = whole(support, adapted.model.history)
    n = count.count(count.target).double().expand(e)
    noise = torch.where(n > d, (loss * n / (n - d).clamp_min(1)).sqrt(), torch.nan)
    covariance = like.new_full((e, d, d), torch.nan) if adapted.covariance is None else adapted.covariance.to(like)
    converged = torch.as_tensor(info.get("converged", [True] * e)).to(like.device)
    iterations = torch.full((e,), int(info.get("iterations", 0)), device=like.device)
    return ChunkFit(adapted.contexts, covariance, loss, converged, iterations, noise)
