"""Gradient steps for contexts too large for a Jacobian."""

from __future__ import annotations

import math

import torch

from leads.adaptation.levenberg_marquardt import Fit
from leads.adaptation.settings import AdaptSettings
from leads.adapters import Context
from leads.contexts.flat import flatten
from leads.dynamics import DecomposedDynamics
from leads.errors import DivergenceError
from leads.trajectories import Trajectories
from leads.trajectories.segments import whole


def gradient_descent(model: DecomposedDynamics, data: Trajectories, start: Context, settings: AdaptSettings) -> Fit:
    """Adam on the sum over environments of data loss and penalty; only contexts receive gradients.

    Adam treats every value on its own and the losses are summed, so environments do not influence each other. Each
    keeps the best context it has seen.
    """
    contexts = {k: v.detach().clone().requires_grad_() for k, v in start.items()}
    leaves = list(contexts.values())
    optimizer = torch.optim.Adam(leaves, lr=settings.lr, fused=True)
    segments = whole(data, model.history)
    best = {k: v.detach().clone() for k, v in contexts.items()}
    lowest = torch.full((data.n_environments,), math.inf, dtype=data.states.dtype, device=data.states.device)
    loss_at_best = lowest.clone()
    losses: list[list[float]] = []
    for step in range(settings.steps + 1):
        loss = model.loss_per_environment(segments, contexts)
        objective = loss + model.adaptation_penalty(contexts, data)
        if step == 0 and not bool(torch.isfinite(objective).all()):
            e = int((~torch.isfinite(objective)).nonzero()[0])
            raise DivergenceError(f"The rollout of new environment {e} from its starting context is not finite.")
        with torch.no_grad():
            better = objective < lowest
            lowest, loss_at_best = torch.where(better, objective, lowest), torch.where(better, loss, loss_at_best)
            for k, v in contexts.items():
                best[k] = torch.where(better.reshape(-1, *(1,) * (v.ndim - 1)), v, best[k])
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
    return Fit(flatten(best), None, loss_at_best, converged, settings.steps, losses)
