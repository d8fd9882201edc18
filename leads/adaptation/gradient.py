"""Gradient steps for contexts too large for a Jacobian."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from leads.adaptation.fit import Fit
from leads.adaptation.problem import Point, Problem, entry_size
from leads.adaptation.settings import AdaptSettings
from leads.adapters import Context
from leads.contexts.flat import flatten
from leads.dynamics import DecomposedDynamics
from leads.errors import DivergenceError, SettingsError
from leads.integrators import gradients_once
from leads.trajectories import Trajectories
from leads.trajectories.segments import whole

#: From contexts and shifts of the first states to the loss of each environment.
Objective = Callable[[Context, Tensor], Tensor]


def gradient_descent(model: DecomposedDynamics, data: Trajectories, start: Context, settings: AdaptSettings) -> Fit:
    """Adam on the sum over environments of data loss and penalty; only contexts, and first states where they are
    estimated, receive gradients.

    Adam treats every value on its own and the losses are summed, so environments do not influence each other. Each
    keeps the best context it has seen. First states are moved in units of their channel's size.

    Raises:
        SettingsError: a prior of the seen contexts, or first states for a loss other than the mean square.
        DivergenceError: the rollout from an environment's starting context is not finite.
    """
    if isinstance(settings.prior, str):
        raise SettingsError(
            "The gradient solver knows no prior of the seen contexts. Use solver='gauss_newton', or a number for prior, the "
            "weight of |context - start|^2."
        )
    estimated = settings.initial == "estimated"
    contexts = {k: v.detach().clone().requires_grad_() for k, v in start.items()}
    origin = flatten(start).detach()
    leaves = list(contexts.values())
    objective_of = _with_states(model, data, start) if estimated else _given_states(model, data)
    shift = torch.zeros_like(data.initial, requires_grad=estimated)
    if estimated:
        leaves.append(shift)
    optimizer = torch.optim.Adam(leaves, lr=settings.lr, fused=True)
    best = [v.detach().clone() for v in leaves]
    lowest = torch.full((data.n_environments,), math.inf, dtype=data.states.dtype, device=data.states.device)
    loss_at_best = lowest.clone()
    losses: list[list[float]] = []
    for step in range(settings.steps + 1):
        with gradients_once():
            loss = objective_of(contexts, shift)
        objective = loss + model.adaptation_penalty(contexts, data)
        if settings.prior:
            objective = objective + settings.prior * (flatten(contexts) - origin).square().sum(1)
        if step == 0 and not bool(torch.isfinite(objective).all()):
            e = int((~torch.isfinite(objective)).nonzero()[0])
            raise DivergenceError(f"The rollout of new environment {e} from its starting context is not finite.")
        with torch.no_grad():
            better = objective < lowest
            lowest, loss_at_best = torch.where(better, objective, lowest), torch.where(better, loss, loss_at_best)
            best = [
                torch.where(better.reshape(-1, *(1,) * (v.ndim - 1)), v, b) for v, b in zip(leaves, best, strict=True)
            ]
        if step % 50 == 0:
            losses.append(loss_at_best.tolist())
        if step == settings.steps:
            break
        gradients = torch.autograd.grad(objective.sum(), leaves)
        for leaf, g in zip(leaves, gradients, strict=True):
            leaf.grad = torch.nan_to_num(g, nan=0.0, posinf=0.0, neginf=0.0)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        optimizer.step()
    # The rate goes to zero, and so does the change at the very end: the last quarter of the steps counts.
    recent = torch.tensor(losses[-max(2, len(losses) // 4 + 1) :])
    converged = (recent[0] - recent[-1]) <= 1e-2 * recent[0].clamp_min(1e-30)
    converged &= torch.tensor(len(losses) > 3)  # too few steps to tell
    found = flatten(dict(zip(contexts, best, strict=False)))
    initial = _states(data, best[-1]) if estimated else None
    return Fit(found, None, loss_at_best, converged, settings.steps, losses, initial)


def _given_states(model: DecomposedDynamics, data: Trajectories) -> Objective:
    segments = whole(data, model.history)
    return lambda contexts, shift: model.loss_per_environment(segments, contexts)  # noqa: ARG005


def _with_states(model: DecomposedDynamics, data: Trajectories, start: Context) -> Objective:
    """The mean square error of all frames as a function of contexts and of first states."""
    if model.loss != "mse":
        raise SettingsError(
            f"The gradient solver estimates first states for the mean square error, and this model's loss is {model.loss!r}. Use "
            "solver='levenberg_marquardt' or 'gauss_newton', which minimise the mean square error of any model."
        )
    problem = Problem(model, data, start, estimated=True)

    def loss(contexts: Context, shift: Tensor) -> Tensor:
        point = Point(flatten(contexts), _states(data, shift).flatten(2))
        return problem.mean_square(problem.residual(point))

    return loss


def _states(data: Trajectories, shift: Tensor) -> Tensor:
    """The data's first states moved by ``shift (E, N, *S)`` in units of the size of their entries."""
    return data.initial + shift * entry_size(data).to(shift).reshape(data.state_shape)
