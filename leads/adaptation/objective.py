"""What the Gauss-Newton solvers minimise: a loss of residuals, and a prior weighed against the noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leads.adaptation.prior import Prior
from leads.adaptation.problem import Problem
from leads.adaptation.robust import LOSSES, noise_by_median, variance_factor

#: Noise below this share of the data's size cannot be told from the rounding of single precision.
LEAST = 1e-6


@dataclass(frozen=True)
class Weighing:
    """A quadratic that stands for the objective near a point: weights of squared residuals ``(E, N, M)``, or ``None``
    for one, and the variance of the noise ``(E,)``, in the units of the residuals."""

    weights: Tensor | None
    variance: Tensor


class Objective:
    """``1/n sum rho(r) + prior``, by quadratics that touch it at the last point.

    Args:
        problem: gives the residuals.
        size: values of a context.
        prior: of the context.
        robust: name of the loss, ``None`` for the square.
        scale: of the robust loss, in units of the noise.
    """

    def __init__(
        self, problem: Problem, size: int, prior: Prior | None, robust: str | None = None, scale: float | None = None
    ) -> None:
        self.problem, self.prior = problem, prior
        self.loss = None if robust is None else LOSSES[robust]
        self.scale = scale or (1.0 if self.loss is None else self.loss.scale)
        self.count, self.known = problem.count, problem.noise is not None
        unknowns = size + problem.state_size * problem.n_trajectories
        #: Observed values beyond the number of unknowns, and the degrees of freedom that count for the noise.
        self.surplus = self.count - unknowns
        self.freedom = self.surplus.clamp_min(1)
        self._least = LEAST**2 * problem.scale.square().mean()

    @property
    def changes(self) -> bool:
        """Whether the quadratic is another one at another point."""
        return self.loss is not None or (not self.known and self.prior is not None and self.prior.absolute)

    def weigh(self, residual: Tensor) -> Weighing:
        """The quadratic at a point with these residuals ``(E, N, M)``."""
        if self.loss is None:
            return Weighing(None, self._variance(residual))
        sigma = self._sigma(residual)
        return Weighing(self.loss.weight(residual / (self.scale * sigma)[:, None, None]), sigma.square())

    def cost(self, residual: Tensor, contexts: Tensor, weighing: Weighing) -> Tensor:
        """The quadratic's value ``(E,)``."""
        square = residual.square() if weighing.weights is None else weighing.weights * residual.square()
        return square.flatten(1).sum(1) / self.count + self._prior_cost(contexts, weighing.variance)

    def merit(self, residual: Tensor, contexts: Tensor, variance: Tensor) -> Tensor:
        """The objective itself at a given variance of the noise, shape ``(E,)``: what starts are compared by."""
        if self.loss is None:
            return self.cost(residual, contexts, Weighing(None, variance))
        unit = self.scale * variance.sqrt()
        size = self.loss.size(residual / unit[:, None, None]).flatten(1).sum(1) * unit.square()
        return size / self.count + self._prior_cost(contexts, variance)

    def prior_weight(self, variance: Tensor) -> Tensor:
        """What the prior is multiplied by beside the mean of squared residuals, shape ``(E,)``."""
        if self.prior is None or not self.prior.absolute:
            return torch.ones_like(variance)
        return variance / self.count

    def spread(self, residual: Tensor, weighing: Weighing) -> Tensor:
        """What ``(J^T J)^-1`` is multiplied by for the covariance, shape ``(E,)``."""
        if self.loss is None:
            return weighing.variance
        unit = self.scale * weighing.variance.sqrt()
        u = residual / unit[:, None, None]
        return unit.square() * variance_factor(self.loss, u, self.problem.seen, self.freedom)

    def notes(self, residual: Tensor) -> dict[str, list[float]]:
        """For ``Adapted.info``: the estimated ``noise`` of each environment, a standard deviation in units of the data; where
        the noise was given, the ``misfit``, the residuals' standard deviation over it, near 1 where the model explains the
        observations."""
        if not self.known:
            return {"noise": self.weigh(residual).variance.sqrt().tolist()}
        square = residual.square().flatten(1).sum(1)
        return {"misfit": (square / self.freedom).sqrt().tolist()}

    def unexplained(self, residual: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean square of the residuals in the units of the data, that of the bulk for robust losses, ``(E,)``; and their
        size over the noise ``(E,)``, where that is known."""
        if self.loss is not None:
            bulk = noise_by_median(residual, self.problem.seen)
            return self.problem.mean_square(residual) * bulk.square() / self._mean(
                residual
            ), bulk if self.known else None
        return self.problem.mean_square(residual), self._mean(residual).sqrt() if self.known else None

    def _mean(self, residual: Tensor) -> Tensor:
        return (residual.square().flatten(1).sum(1) / self.count).clamp_min(1e-300)

    def _prior_cost(self, contexts: Tensor, variance: Tensor) -> Tensor:
        if self.prior is None:
            return torch.zeros_like(variance)
        return self.prior_weight(variance) * self.prior.cost(contexts)

    def _variance(self, residual: Tensor) -> Tensor:
        if self.known:
            return residual.new_ones(len(residual))
        return (residual.square().flatten(1).sum(1) / self.freedom).clamp_min(self._least)

    def _sigma(self, residual: Tensor) -> Tensor:
        if self.known:
            return residual.new_ones(len(residual))
        return noise_by_median(residual, self.problem.seen).clamp_min(self._least.sqrt())
