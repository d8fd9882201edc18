"""From a few observations to a forecaster."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import Any

import torch

from leads.adaptation.adapted import Adapted
from leads.adaptation.gradient import gradient_descent
from leads.adaptation.levenberg_marquardt import Fit, levenberg_marquardt
from leads.adaptation.settings import AdaptSettings
from leads.adapters import Context
from leads.adapters.pinned import Pinned
from leads.contexts.flat import flatten, size, unflatten
from leads.dynamics import DecomposedDynamics
from leads.errors import DivergenceError, SettingsError, ShapeError
from leads.registry import nearest
from leads.trajectories import Trajectories
from leads.trajectories.segments import whole
from leads.trajectories.trajectories import require_frames, require_trajectories


def adapt(
    model: DecomposedDynamics, support: Trajectories, settings: AdaptSettings | None = None, **overrides: Any
) -> Adapted:
    """Find the contexts of environments never seen. The shared weights are not touched.

    Args:
        model: trained dynamics.
        support: observations of E' new environments, one or more trajectories each.
        settings: see :class:`AdaptSettings`; ``overrides`` replace single ones.

    Returns:
        Contexts with their covariance, ready to forecast.

    Raises:
        ShapeError: states that do not fit the model.
        DivergenceError: the rollout from the starting context is not finite.
        SettingsError, UnknownNameError: settings that do not exist or cannot be.
    """
    for name in overrides:
        if name not in AdaptSettings.__dataclass_fields__:
            raise SettingsError(f"adapt has no setting {name!r}. {nearest(name, AdaptSettings.__dataclass_fields__)}")
    settings = replace(settings or AdaptSettings(), **overrides)
    _check(model, support)
    began = time.perf_counter()
    like = next(iter([*model.parameters(), support.states]))  # physics alone has no weights
    support = support.to(like.device, like.dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        start = model.source.new_contexts(model, support)
    given = {k: start.pop(k) for k in model.adapter.known}
    if not size(start):
        return Adapted(model, given, None, support.parameters, {"solver": "none", "iterations": 0, "seconds": 0.0})
    fit, solver = _solve(_holding(model, given), support, start, settings)
    contexts = {k: v.to(like) for k, v in unflatten(fit.contexts, start).items()}
    contexts |= given
    info = {
        "solver": solver,
        "iterations": fit.iterations,
        "seconds": time.perf_counter() - began,
        "loss": fit.loss.tolist(),
        "converged": fit.converged.tolist(),
        "losses": fit.losses,
    }
    return Adapted(model, contexts, fit.covariance, support.parameters, info)


def _solve(
    model: DecomposedDynamics, support: Trajectories, start: Context, settings: AdaptSettings
) -> tuple[Fit, str]:
    solver = settings.solver
    if solver == "auto":
        fitted = "levenberg_marquardt" if size(start) <= settings.small else "gradient"
        solver = "none" if model.source.complete else fitted
    if solver == "none":
        return _keep(model, support, start), solver
    if solver == "gradient":
        return gradient_descent(model, support, start, settings), solver
    if flatten(start).shape[1] > 4 * settings.small:
        raise SettingsError(
            f"levenberg_marquardt would form a Jacobian in {size(start)} directions per environment. Use "
            "solver='gradient', or raise small if you mean it."
        )
    # Central differences need float64; a copy is cast, so the model keeps its bits.
    double = copy.deepcopy(model).double().requires_grad_(False)
    start = {k: v.detach().double() for k, v in start.items()}
    return levenberg_marquardt(double, whole(support.to(dtype=torch.float64), model.history), start, settings), solver


def _holding(model: DecomposedDynamics, given: Context) -> DecomposedDynamics:
    """The same dynamics, with what is known of its contexts held; it shares the model's weights."""
    if not given:
        return model
    return model.with_adapter(Pinned(model.adapter, given))


@torch.no_grad()
def _keep(model: DecomposedDynamics, support: Trajectories, start: Context) -> Fit:
    """The contexts that the source gave, with their loss."""
    loss = model.loss_per_environment(support, start)
    if not bool(torch.isfinite(loss).all()):
        e = int((~torch.isfinite(loss)).nonzero()[0])
        raise DivergenceError(f"The rollout of new environment {e} from its context is not finite.")
    return Fit(flatten(start), None, loss, torch.ones_like(loss, dtype=torch.bool), 0, [loss.tolist()])


def _check(model: DecomposedDynamics, support: Trajectories) -> None:
    require_trajectories(support, "adapt's support")
    shape = model.recipe.get("state_shape")
    if shape is not None and tuple(shape) != support.state_shape:
        raise ShapeError(
            f"The model forecasts states (C, *X) = {tuple(shape)}, the support trajectories have {support.state_shape}."
        )
    require_frames(support, model.history, "support trajectories")
