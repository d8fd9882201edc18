"""How far new environments lie outside those that a model was trained on.

Two things tell: a context far from the seen ones, and residuals that no context explains. Either alone is a score
without a scale; held-out environments of the seen range give it one. The joint score is the smaller of the two
scores' ranks, and its p-value is the rank of that among the held-out environments and the new one (full conformal
prediction; Vovk, Gammerman and Shafer 2005, ch. 2; Bates et al. 2023, "Testing for outliers with conformal p-values").
Environments exchangeable with the held-out ones are then alarmed with at most the chosen probability, whatever the
model.
"""

from __future__ import annotations

import math
import sys
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from leads.errors import DataError, LimitsWarning

#: Ratio of variances of the seen contexts below which they count as lying in a plane.
FLAT = 1e-8


@dataclass(frozen=True)
class Region:
    """Where the seen contexts lie, as half spaces or as an ellipsoid.

    In coordinates ``z = W (c - mean)`` in which the seen contexts have unit covariance, the distance of a context with
    covariance Sigma is ``max_f (n_f . z + b_f) / sqrt(1 + n_f^T W Sigma W^T n_f)`` over the facets of the seen
    contexts' convex hull: negative inside, zero on it. Without a hull it is the Mahalanobis distance
    ``sqrt(d^T (S + Sigma)^-1 d)``. The context's own covariance stands in both, so that an uncertain one is not called
    far.

    Attributes:
        mean: of the seen contexts, ``(d,)``.
        covariance: of the seen contexts, ``(d, d)``, shrunk as Ledoit and Wolf (2004) where there is no hull.
        normals, offsets: of the hull's facets, in coordinates of unit covariance, ``(F, d)`` and ``(F,)``, or ``None``.
    """

    mean: Tensor
    covariance: Tensor
    normals: Tensor | None = None
    offsets: Tensor | None = None

    @classmethod
    def of(cls, seen: Tensor) -> Region:
        """The region of seen contexts ``(n, d)``.

        A hull is used where it can be the region: in up to four dimensions and with more seen environments than a box
        has corners, ``n > 2^d``; else the ellipsoid.

        Raises:
            DataError: fewer than two seen contexts, or all the same.
        """
        if len(seen) < 2:
            raise DataError(f"The region of the seen environments needs the contexts of at least 2, got {len(seen)}.")
        seen = seen.double()
        mean, d = seen.mean(0), seen.shape[1]
        plain = (seen - mean).mT @ (seen - mean) / (len(seen) - 1)
        spread = torch.linalg.eigvalsh(plain)
        if not float(spread[-1]) > 0:
            raise DataError("The contexts of all seen environments are the same, so no distance can be told from them.")
        if d <= 4 and len(seen) > 2**d and float(spread[0]) > FLAT * float(spread[-1]):
            return cls(mean, plain, *_facets((seen - mean) @ _whitening(plain).mT))
        return cls(mean, ledoit_wolf(seen))

    def distance(self, contexts: Tensor, covariance: Tensor | None) -> Tensor:
        """Distances ``(E,)`` of contexts ``(E, d)`` with covariances ``(E, d, d)`` (none: taken as exact)."""
        shift = contexts.to(self.mean) - self.mean
        own = torch.zeros_like(self.covariance) if covariance is None else covariance.to(self.mean)
        if self.normals is None or self.offsets is None:
            together = (self.covariance + own).expand(len(shift), -1, -1)
            return (shift * torch.linalg.solve(together, shift)).sum(1).clamp_min(0).sqrt()
        whitening = _whitening(self.covariance)
        along = self.normals @ whitening
        extra = torch.einsum("fi,...ij,fj->...f", along, own, along)
        return ((shift @ along.mT + self.offsets) / (1 + extra).sqrt()).amax(1)


@dataclass(frozen=True)
class Check:
    """What :meth:`leads.adaptation.Calibration.check` found, per environment ``(E,)``.

    Attributes:
        p_value: probability of a joint score at least as striking in an environment of the seen range.
        distance: of the context from the seen ones, see :class:`Region`; NaN where there is no context.
        residual: mean square error on the support.
        distance_rank, residual_rank: share of held-out environments that lie at least as far out by this score alone.
        alarm: whether ``p_value <= rate``.
        rate: the false-alarm rate.
        environments: how many held-out environments the p-values rest on.
    """

    p_value: Tensor
    distance: Tensor
    residual: Tensor
    distance_rank: Tensor
    residual_rank: Tensor
    alarm: Tensor
    rate: float
    environments: int

    def sentences(self) -> list[str]:
        """One plain sentence for every environment that alarms."""
        return [self._sentence(int(e)) for e in self.alarm.nonzero()[:, 0]]

    def _sentence(self, e: int) -> str:
        far = float(self.distance_rank[e]) <= float(self.residual_rank[e])
        rank = self.distance_rank[e] if far else self.residual_rank[e]
        distance = float(self.distance[e])
        where = f"{distance:.3g} standard deviations away from" if distance > 0 else "at the edge of"
        what = f"no context explains its observations (mean square error {float(self.residual[e]):.3g} on the support)"
        what = f"its context lies {where} the seen ones" if far else what
        return (
            f"Environment {e} is outside what the model knows: {what}, farther out than {1 - float(rank):.1%} of "
            f"{self.environments} held-out environments (p = {float(self.p_value[e]):.3g}). Forecast and bands may be wrong."
        )

    def __str__(self) -> str:
        found = self.sentences()
        return "\n".join(found) or (
            f"All {len(self.alarm)} environments look like the seen ones (false-alarm rate {self.rate:g}, smallest "
            f"p = {float(self.p_value.min()):.3g})."
        )


def ledoit_wolf(samples: Tensor) -> Tensor:
    """Covariance of ``samples`` ``(n, d)`` shrunk towards a multiple of the identity.

    ``(1 - a) S + a m I`` with ``m = tr(S) / d`` and ``a = min(b^2, d^2) / d^2`` as Ledoit and Wolf (2004), "A
    well-conditioned estimator for large-dimensional covariance matrices", lemmas 3.2 to 3.4.
    """
    n, d = samples.shape
    centred = samples - samples.mean(0)
    s = centred.mT @ centred / n
    m = s.diagonal().sum() / d
    eye = torch.eye(d, dtype=s.dtype, device=s.device)
    apart = (s - m * eye).square().sum() / d
    # sum_k |x_k x_k^T - S|^2 = sum_k |x_k|^4 - n |S|^2
    wobble = (centred.square().sum(1).square().sum() / n - s.square().sum()) / n / d
    a = (wobble.clamp_min(0) / apart.clamp_min(torch.finfo(s.dtype).tiny)).clamp(0, 1)
    return (1 - a) * s + a * m * eye


def joint_p_values(held_out: Tensor, new: Tensor) -> Tensor:
    """Conformal p-values of the joint score.

    Args:
        held_out: scores of K held-out environments, ``(K, S)``: S scores each, larger means farther out.
        new: scores of E new ones, ``(E, S)``. NaN counts as infinitely far.

    Returns:
        p-values ``(E,)``, at least ``1 / (K + 1)``: for an environment exchangeable with the held-out ones,
        ``P(p <= a) <= a``.
    """
    everyone = torch.cat([held_out.expand(len(new), *held_out.shape), new[:, None]], 1).nan_to_num(
        nan=math.inf, posinf=math.inf
    )
    ordered = everyone.sort(1).values.movedim(1, 2).contiguous()  # (E, S, K + 1)
    values = everyone.movedim(1, 2).contiguous()
    at_least = values.shape[2] - torch.searchsorted(ordered, values)
    smallest = at_least.amin(1)  # (E, K + 1): of each environment its most striking rank
    return (smallest <= smallest[:, -1:]).double().mean(1)


def warn_limits(message: str) -> None:
    """Issue a :class:`leads.errors.LimitsWarning` at the line of the caller outside leads and torch."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("leads", "torch"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, LimitsWarning, stacklevel=level)


def _whitening(covariance: Tensor) -> Tensor:
    return torch.linalg.inv(torch.linalg.cholesky(covariance))


def _facets(points: Tensor) -> tuple[Tensor, Tensor]:
    """Outward normals and offsets of the convex hull of points ``(n, d)``."""
    if points.shape[1] == 1:
        one = points.new_ones(1, 1)
        return torch.cat([one, -one]), torch.stack([-points.max(), points.min()])
    from scipy.spatial import ConvexHull

    facets = torch.from_numpy(ConvexHull(points.cpu().numpy()).equations).to(points)
    return facets[:, :-1], facets[:, -1]
