"""From a few observations to a forecaster."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from leads.adaptation.adapted import Adapted
from leads.adaptation.conditions import of_support
from leads.adaptation.fit import Fit
from leads.adaptation.gauss_newton import gauss_newton
from leads.adaptation.gradient import gradient_descent
from leads.adaptation.settings import SEEN, AdaptSettings
from leads.adaptation.small_contexts import fit_small
from leads.adaptation.support import check_observations, filled
from leads.adapters import Context
from leads.adapters.pinned import Pinned
from leads.contexts.flat import flatten, size, unflatten
from leads.dynamics import DecomposedDynamics
from leads.errors import DivergenceError, SettingsError, ShapeError
from leads.registry import nearest
from leads.trajectories import Trajectories
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
        Contexts with their covariance, ready to forecast, and the first states where these were estimated. ``info`` holds
        the solver, iterations and seconds, and for each environment the ``loss`` (mean square error in the units of the
        data), whether it ``converged``, the estimated ``noise`` (or the ``misfit``, see
        :meth:`leads.adaptation.objective.Objective.notes`), what it was adapted to (``support``, see
        :func:`leads.adaptation.conditions.of_support`) and, with several starts, the losses of all in ``starts``
        (``None`` where not finite). Where some environments were solved again (see ``AdaptSettings.starts``),
        ``restarted`` holds the reason of each, ``"poor fit"`` or ``"open direction"``, and ``None`` for the others.

    Raises:
        ShapeError: states that do not fit the model.
        DataError: a support that says nothing: empty, an environment with no observed value, a missing first frame that is
            taken as given.
        DivergenceError: the rollout from the starting context is not finite.
        SettingsError, UnknownNameError: settings that do not exist or cannot be.
    """
    for name in overrides:
        if name not in AdaptSettings.__dataclass_fields__:
            raise SettingsError(f"adapt has no setting {name!r}. {nearest(name, AdaptSettings.__dataclass_fields__)}")
    settings = replace(settings or AdaptSettings(), **overrides)
    estimated = settings.initial == "estimated"
    _check(model, support, estimated)
    began = time.perf_counter()
    like = next(iter([*model.parameters(), support.states]))  # physics alone has no weights
    observed = support
    support = support.to(like.device, like.dtype)
    if not model.gaps:
        support = filled(support, estimated)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        start = model.source.new_contexts(model, support)
    given = {k: start.pop(k) for k in model.adapter.known}
    if not size(start):
        if estimated:
            raise SettingsError(
                "This model has no context to adapt, and first states are estimated along with one only."
            )
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
        "support": of_support(observed, model.history, settings.initial),
        **fit.notes,
    }
    initial = None if fit.initial is None else fit.initial.to(like)
    return Adapted(model, contexts, fit.covariance, support.parameters, info, initial=initial, support=observed)


def _solve(
    model: DecomposedDynamics, support: Trajectories, start: Context, settings: AdaptSettings
) -> tuple[Fit, str]:
    solver = _chosen(model, support, start, settings)
    _refuse_ignored(solver, settings, _fits(support, start, settings))
    return SOLVE[solver](model, support, start, settings), solver


def _chosen(model: DecomposedDynamics, support: Trajectories, start: Context, settings: AdaptSettings) -> str:
    """The solver that the settings name, or the one that fits."""
    if settings.solver != "auto":
        return settings.solver
    estimated = settings.initial == "estimated"
    asked = _asked(settings)
    if model.source.complete and not estimated and not asked - set(_known_by("none")):
        return "none"
    if _fits(support, start, settings):
        return "levenberg_marquardt"
    many_states = estimated and size(start) <= settings.small  # a field, of which no Jacobian is formed
    known = not asked - set(_known_by("gradient")) and settings.prior != SEEN
    return "gradient" if known and not many_states else "gauss_newton"


def _fits(support: Trajectories, start: Context, settings: AdaptSettings) -> bool:
    """Whether the unknowns are few enough for their Jacobian."""
    states = math.prod(support.state_shape) if settings.initial == "estimated" else 0
    return max(size(start), states) <= settings.small


def _asked(settings: AdaptSettings) -> set[str]:
    """The settings, of those that only some solvers know, that ask for something."""
    asked = set()
    for name in LIMITED:
        value = getattr(settings, name)
        nothing = (None, AdaptSettings.__dataclass_fields__[name].default, PLAIN.get(name))
        if not any(value is n or (isinstance(value, (int, float, str)) and value == n) for n in nothing):
            asked.add(name)
    return asked


def _known_by(solver: str) -> list[str]:
    return [name for name, solvers in LIMITED.items() if solver in solvers]


def _refuse_ignored(solver: str, settings: AdaptSettings, small: bool) -> None:
    """Settings that a solver would pass over are refused, not passed over; what is offered can do it."""
    for name in _asked(settings) - set(_known_by(solver)):
        offered = LIMITED[name][0] if small else LIMITED[name][1]
        raise SettingsError(
            f"solver={solver!r} has no use for {name}={getattr(settings, name)!r}. Use solver={offered!r}, or leave {name} out."
        )


def _holding(model: DecomposedDynamics, given: Context) -> DecomposedDynamics:
    """The same dynamics, with what is known of its contexts held; it shares the model's weights."""
    if not given:
        return model
    return model.with_adapter(Pinned(model.adapter, given))


@torch.no_grad()
def _keep(model: DecomposedDynamics, support: Trajectories, start: Context, settings: AdaptSettings) -> Fit:
    """The contexts that the source gave, with their loss."""
    del settings
    loss = model.loss_per_environment(support, start)
    if not bool(torch.isfinite(loss).all()):
        e = int((~torch.isfinite(loss)).nonzero()[0])
        raise DivergenceError(f"The rollout of new environment {e} from its context is not finite.")
    return Fit(flatten(start), None, loss, torch.ones_like(loss, dtype=torch.bool), 0, [loss.tolist()])


#: Each solver by its name.
SOLVE: dict[str, Callable[[DecomposedDynamics, Trajectories, Context, AdaptSettings], Fit]] = {
    "levenberg_marquardt": fit_small,
    "gauss_newton": gauss_newton,
    "gradient": gradient_descent,
    "none": _keep,
}
#: Values that ask for nothing.
PLAIN = {"starts": 1, "prior": 0.0}
#: Settings that only some solvers know; of these the first is offered for small contexts, the second for large ones.
LIMITED = {
    "prior": ("levenberg_marquardt", "gauss_newton", "gradient", "none"),
    "initial": ("levenberg_marquardt", "gauss_newton", "gradient"),
    "noise": ("levenberg_marquardt", "gauss_newton"),
    "robust": ("levenberg_marquardt", "gauss_newton"),
    "bounds": ("levenberg_marquardt", "gauss_newton"),
    "starts": ("levenberg_marquardt", "gauss_newton"),
}


def _check(model: DecomposedDynamics, support: Trajectories, estimated: bool) -> None:
    require_trajectories(support, "adapt's support")
    shape = model.recipe.get("state_shape")
    if shape is not None and tuple(shape) != support.state_shape:
        raise ShapeError(
            f"The model forecasts states (C, *X) = {tuple(shape)}, the support trajectories have {support.state_shape}."
        )
    require_frames(support, model.history, "support trajectories")
    if estimated and model.history > 1:
        raise SettingsError(
            f"This model starts from {model.history} frames, and initial='estimated' finds one. Use initial='given' and start "
            "the support where so many frames are observed."
        )
    check_observations(support, model.history, estimated, model.gaps)
