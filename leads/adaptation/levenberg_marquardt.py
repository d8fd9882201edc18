"""Batched Levenberg-Marquardt for small contexts.

Every environment has its own damping and accepts or rejects its own steps, so its result does not depend on what is
fitted beside it. One iteration is ONE rollout: each environment appears 2 d + 1 times in the batch, with its trial
context and with the trial moved a little to both sides along each of its d directions. Central differences in
float64 are as exact as the fit needs and ten times cheaper than an eager forward-mode product through the rollout.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leads.adaptation.settings import AdaptSettings
from leads.adapters import Context
from leads.contexts.flat import flatten, unflatten
from leads.dynamics import DecomposedDynamics
from leads.errors import DivergenceError
from leads.trajectories.segments import Segments

#: Step of the central differences, near the cube root of float64's precision.
STEP = 1e-5
LOW, HIGH = 1e-12, 1e12


@dataclass(frozen=True)
class Fit:
    """Result of a solver: contexts ``(E, d)``, covariance ``(E, d, d)`` or ``None``, and per environment ``(E,)`` the
    mean square error and whether it converged; ``losses`` has one row per iteration."""

    contexts: Tensor
    covariance: Tensor | None
    loss: Tensor
    converged: Tensor
    iterations: int
    losses: list[list[float]]


@torch.no_grad()
def levenberg_marquardt(model: DecomposedDynamics, data: Segments, start: Context, settings: AdaptSettings) -> Fit:
    """Minimise each environment's mean square error over its context.

    Args:
        model: in float64.
        data: observations, float64.
        start: starting contexts, stacked.

    Raises:
        DivergenceError: the rollout from an environment's starting context is not finite.
    """
    origin = flatten(start).double()
    d = origin.shape[1]
    count = data.count(data.target).expand(len(origin))
    best = origin.clone()
    residual, jacobian = _linearise(model, data, best, start)
    bad = ~torch.isfinite(residual).all(1)
    if bool(bad.any()):
        raise DivergenceError(
            f"The rollout of new environment {int(bad.nonzero()[0])} from its starting context is not finite, so there "
            "is nothing to improve on. Check the data's scale and units, shorten the trajectory, or train longer."
        )
    cost = _cost(residual, best - origin, settings.prior, count)
    damping = torch.full_like(cost, 1e-3)
    converged = torch.zeros_like(cost, dtype=torch.bool)
    losses = [cost.tolist()]
    for _ in range(settings.iterations):
        hessian, gradient = _normal(jacobian, residual, best - origin, settings.prior, count)
        scale = hessian.diagonal(dim1=1, dim2=2).clamp_min(1e-12)
        step = torch.linalg.solve(hessian + torch.diag_embed(damping[:, None] * scale), -gradient)
        # What a full Gauss-Newton step promises: once it is nothing, no damping will find more.
        full = torch.linalg.solve(hessian + torch.diag_embed(1e-12 * scale), -gradient)
        converged |= -(full * gradient).sum(1) <= settings.tolerance * cost
        if bool(converged.all()):
            break
        step = torch.where(converged[:, None], torch.zeros_like(step), step)
        trial = best + step
        new_residual, new_jacobian = _linearise(model, data, trial, start)
        new_cost = _cost(new_residual, trial - origin, settings.prior, count)
        sound = torch.isfinite(new_cost) & torch.isfinite(new_jacobian).flatten(1).all(1)
        better = sound & (new_cost <= cost) & ~converged
        decrease = torch.where(better, (cost - new_cost) / cost.clamp_min(1e-300), torch.zeros_like(cost))
        best = torch.where(better[:, None], trial, best)
        residual = torch.where(better[:, None], new_residual, residual)
        jacobian = torch.where(better[:, None, None], new_jacobian, jacobian)
        cost = torch.where(better, new_cost, cost)
        # A hopeless damping means that no downhill step is left at this precision: a minimum as well.
        converged |= (better & (decrease < settings.tolerance)) | (damping >= 1e8)
        damping = torch.where(better, damping / 10, damping * 10).clamp(LOW, HIGH)
        losses.append(cost.tolist())
    covariance = _covariance(jacobian, residual, count, d)
    return Fit(best, covariance, residual.square().sum(1) / count, converged, len(losses) - 1, losses)


def _linearise(model: DecomposedDynamics, data: Segments, contexts: Tensor, like: Context) -> tuple[Tensor, Tensor]:
    """Residuals ``(E, M)`` and their Jacobian ``(E, M, d)`` at ``contexts`` ``(E, d)``, from one stacked rollout."""
    e, d = contexts.shape
    h = STEP * contexts.abs().clamp_min(1.0)
    moves = torch.diag_embed(h)  # (E, d, d): one row per direction
    stacked = torch.cat([contexts[:, None], contexts[:, None] + moves, contexts[:, None] - moves], 1)
    copies = 2 * d + 1

    def repeat(x: Tensor) -> Tensor:
        return x.repeat_interleave(copies, 0) if (x.shape[0] == e and e > 1) or x.shape[0] == 1 == e else x

    observed = None if data.observed is None else repeat(data.observed.expand(e, *data.observed.shape[1:]))
    many = Segments(repeat(data.initial), repeat(data.target), data.times, observed)
    r = model.residuals(many, unflatten(stacked.flatten(0, 1), like)).reshape(e, copies, -1)
    jacobian = (r[:, 1 : d + 1] - r[:, d + 1 :]) / (2 * h[:, :, None])
    return r[:, 0], jacobian.mT


def _cost(residual: Tensor, shift: Tensor, prior: float, count: Tensor) -> Tensor:
    return residual.square().sum(1) / count + prior * shift.square().sum(1)


def _normal(jacobian: Tensor, residual: Tensor, shift: Tensor, prior: float, count: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Newton matrix ``(E, d, d)`` and half gradient ``(E, d)`` of the cost."""
    n = count[:, None]
    eye = torch.eye(shift.shape[1], dtype=shift.dtype, device=shift.device)
    hessian = jacobian.mT @ jacobian / n[:, None] + prior * eye
    gradient = (jacobian.mT @ residual[:, :, None])[:, :, 0] / n + prior * shift
    return hessian, gradient


def _covariance(jacobian: Tensor, residual: Tensor, count: Tensor, d: int) -> Tensor:
    """``sigma^2 (J^T J)^+`` with the residual variance on the remaining degrees of freedom, shape ``(E, d, d)``."""
    freedom = (count - d).clamp_min(1)
    variance = residual.square().sum(1) / freedom
    return variance[:, None, None] * torch.linalg.pinv(jacobian.mT @ jacobian, hermitian=True)
