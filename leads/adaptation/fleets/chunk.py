"""Adapting one chunk of a fleet: many environments at once, none of which can stop the others."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from leads.adaptation.adapt import adapt
from leads.adaptation.adapted import Adapted
from leads.adaptation.doubt import noise_bound, open_directions, poor_fits, seen_covariance
from leads.adaptation.fleets.flags import of_error, unusable
from leads.adaptation.fleets.normal_equations import by_differences
from leads.adaptation.fleets.solver import Minimum, minimise, solve
from leads.adaptation.settings import AdaptSettings
from leads.adaptation.small_contexts import REASONS
from leads.adapters import Context
from leads.adapters.adapter import WeightAdapter
from leads.contexts.flat import flatten, size, unflatten
from leads.dynamics import DecomposedDynamics
from leads.errors import DataError, DivergenceError
from leads.trajectories import Trajectories
from leads.trajectories.segments import whole

#: What the fleet's own solver knows; a setting beyond these that is not at its default goes through :func:`leads.adapt`.
PLAIN = {"solver", "small", "iterations", "tolerance", "prior", "steps", "lr", "seed", "starts"}
#: What the data of a single environment can cause; all else is about the settings and stops the fleet.
OF_ONE = (DataError, DivergenceError, torch.linalg.LinAlgError)
Fitter = Callable[[Trajectories], "ChunkFit"]


@dataclass(frozen=True)
class ChunkFit:
    """Contexts of E environments and, for each ``(E,)``, its loss (NaN where it failed), whether it converged,
    iterations, the noise's standard deviation (NaN without a degree of freedom), and the flags of
    :mod:`leads.adaptation.fleets.flags`; covariance ``(E, d, d)``, NaN where the solver forms none."""

    contexts: Context
    covariance: Tensor
    loss: Tensor
    converged: Tensor
    iterations: Tensor
    noise: Tensor
    failure: Tensor
    restarted: Tensor

    def with_rows(self, index: Tensor, other: ChunkFit) -> ChunkFit:
        """This one with the environments numbered in ``index`` replaced by those of ``other``."""
        put = lambda mine, its: mine.index_copy(0, index, its.to(mine))  # noqa: E731
        contexts = {k: put(v, other.contexts[k]) for k, v in self.contexts.items()}
        parts = {f.name: put(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)[1:]}
        return ChunkFit(contexts, **parts)


def fit_chunk(
    model: DecomposedDynamics, support: Trajectories, settings: AdaptSettings, compile: bool, memory: int
) -> ChunkFit:
    """Adapt to every environment of ``support``; those that cannot be are marked.

    Least squares over small contexts run in the fleet's own solver, all others through :func:`leads.adapt`, which also
    solves again what is in doubt (:mod:`leads.adaptation.doubt`).

    Args:
        model: trained dynamics.
        support: observations of E environments.
        settings: of the adaptation.
        compile: compile the field, where the model's adapter knows its tangents.
        memory: bytes that one batch of rollouts may take.
    """
    like = next(iter([*model.parameters(), support.states]))
    support = support.to(like.device, like.dtype)
    failure = unusable(support, model.history, settings.initial == "estimated")
    usable = (failure == 0).nonzero()[:, 0]
    if not len(usable):
        return _nothing(model, support, failure)
    part = support if len(usable) == len(failure) else support.select(environments=usable.tolist())
    fit = _halving(model, part, lambda some: _fit(model, some, settings, compile, memory))
    return fit if part is support else _nothing(model, support, failure).with_rows(usable, fit)


def _halving(model: DecomposedDynamics, support: Trajectories, fitter: Fitter) -> ChunkFit:
    """By halves, where one environment stops all: finding it costs a few more calls."""
    try:
        return fitter(support)
    except OF_ONE as error:
        e = support.n_environments
        if e == 1:
            return _nothing(model, support, torch.tensor([of_error(error)], dtype=torch.int8))
        halves = [
            _halving(model, support.select(environments=part), fitter)
            for part in (slice(0, e // 2), slice(e // 2, None))
        ]
        contexts = {k: torch.cat([h.contexts[k] for h in halves]) for k in halves[0].contexts}
        return ChunkFit(contexts, *(torch.cat([getattr(h, f.name) for h in halves]) for f in fields(ChunkFit)[1:]))


def _fit(
    model: DecomposedDynamics, support: Trajectories, settings: AdaptSettings, compile: bool, memory: int
) -> ChunkFit:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        start = model.source.new_contexts(model, support)
    if not _plain(model, start, settings):
        return _of_adapted(adapt(model, support, settings), support)
    like = next(iter([*model.parameters(), support.states]))
    origin = flatten(start).double()
    double = copy.deepcopy(model).double().requires_grad_(False)
    data = whole(support.to(dtype=torch.float64), model.history)
    found = solve(double, data, origin, settings, compile)
    if found is None:
        weights = sum(p.numel() for p in model.parameters()) if isinstance(model.adapter, WeightAdapter) else 0
        wide = {k: v.detach().double() for k, v in start.items()}
        equations = by_differences(double, data, wide, memory, weights)
        found = minimise(equations, origin, origin, settings.prior or 0.0, settings.tolerance, settings.iterations)
    count = data.count(data.target).double().expand(len(origin))
    fit = _result(found, count, {k: v.to(like) for k, v in start.items()})
    again = _doubted(model, found, fit, count, start, support, settings)
    if not len(again):
        return fit
    rest = _halving(
        model, support.select(environments=again.tolist()), lambda some: _of_adapted(adapt(model, some, settings), some)
    )
    return fit.with_rows(again, replace(rest, iterations=rest.iterations + fit.iterations[again]))


def _plain(model: DecomposedDynamics, start: Context, settings: AdaptSettings) -> bool:
    """Whether this is a least-squares fit of small contexts and nothing else."""
    default = AdaptSettings()
    beyond = any(getattr(settings, f.name) != getattr(default, f.name) for f in fields(settings) if f.name not in PLAIN)
    if beyond or model.adapter.known or not 0 < size(start) <= settings.small or (settings.starts or 1) > 1:
        return False
    if isinstance(settings.prior, str):
        return False
    return settings.solver == "levenberg_marquardt" or (settings.solver == "auto" and not model.source.complete)


def _doubted(
    model: DecomposedDynamics,
    found: Minimum,
    fit: ChunkFit,
    count: Tensor,
    start: Context,
    support: Trajectories,
    settings: AdaptSettings,
) -> Tensor:
    """Numbers of the environments that :func:`leads.adapt` would solve again."""
    seen = seen_covariance(model.source, start) if settings.starts is None else None
    doubted = torch.zeros_like(fit.converged)
    if seen is not None:
        doubted = poor_fits(fit.loss, None, support)
        if not settings.prior:
            surplus = count - found.contexts.shape[1]
            weight = surplus.clamp_min(1) / fit.loss.clamp_min(1e-300)
            precision = found.normal.hessian * weight[:, None, None]
            doubted |= open_directions(precision, noise_bound(surplus), seen, count, count - surplus)
    return (doubted & (fit.failure == 0)).nonzero()[:, 0]


def _result(found: Minimum, count: Tensor, like: Context) -> ChunkFit:
    loss = torch.where(found.sound, found.normal.cost, torch.nan)
    d = found.contexts.shape[1]
    variance = loss * count / (count - d).clamp_min(1)
    hessian = torch.where(found.sound[:, None, None], found.normal.hessian, 0.0)
    covariance = (variance / count)[:, None, None] * torch.linalg.pinv(hessian, hermitian=True)
    contexts = {k: v.to(like[k]) for k, v in unflatten(found.contexts, like).items()}
    noise = torch.where(count > d, variance.sqrt(), torch.nan)
    none = torch.zeros_like(found.sound, dtype=torch.int8)
    failure = torch.where(found.sound, none, none + of_error(DivergenceError("")))
    return ChunkFit(contexts, covariance, loss, found.converged, found.iterations, noise, failure, none)


def _nothing(model: DecomposedDynamics, support: Trajectories, failure: Tensor) -> ChunkFit:
    """No fit for any environment of ``support``; their contexts are NaN."""
    like = next(iter([*model.parameters(), support.states]))
    e = support.n_environments
    context = {k: v.detach() for k, v in model.adapter.init_context().items()}
    contexts = {k: like.new_full((e, *v.shape), torch.nan, dtype=v.dtype) for k, v in context.items()}
    d = sum(v.numel() for v in context.values())
    nan = like.new_full((e,), torch.nan, dtype=torch.float64).detach()
    no = torch.zeros(e, dtype=torch.bool, device=like.device)
    covariance = nan[:, None, None].expand(e, d, d)
    failure = failure.to(like.device)
    return ChunkFit(contexts, covariance, nan, no, no.long(), nan, failure, torch.zeros_like(failure))


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
    reasons = info.get("restarted", [None] * e)
    restarted = torch.tensor([0 if r is None else 1 + REASONS.index(r) for r in reasons], dtype=torch.int8)
    none = torch.zeros(e, dtype=torch.int8, device=like.device)
    return ChunkFit(adapted.contexts, covariance, loss, converged, iterations, noise, none, restarted.to(like.device))
