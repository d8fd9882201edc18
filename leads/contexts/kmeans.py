"""k-means of few points, from several starts at once."""

from __future__ import annotations

import torch
from torch import Tensor


def kmeans(points: Tensor, k: int, restarts: int = 16, iterations: int = 50, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Labels ``(n,)`` and centres ``(k, d)`` of ``points (n, d)``, the best of ``restarts`` runs of Lloyd's iteration.

    Starts are drawn one centre after another, in proportion to the squared distance from those drawn before. A centre
    that loses its points takes the point farthest from its own.

    Source: Lloyd (1982), IEEE Trans. Inf. Theory 28; Arthur and Vassilvitskii (2007), k-means++, section 2.2.
    """
    generator = torch.Generator().manual_seed(seed)
    centres = _starts(points, k, restarts, generator)
    runs = torch.arange(restarts, device=points.device)
    for _ in range(iterations):
        gap = torch.cdist(points, centres).square()  # (R, n, k)
        nearest, labels = gap.min(2)
        member = torch.nn.functional.one_hot(labels, k).to(points)
        sizes = member.sum(1)
        moved = (member.mT @ points) / sizes.clamp_min(1)[:, :, None]
        far = points[nearest.argmax(1)]
        moved = torch.where(sizes[:, :, None] > 0, moved, far[:, None])
        if torch.equal(moved, centres):
            break
        centres = moved
    nearest, labels = torch.cdist(points, centres).square().min(2)
    used = torch.nn.functional.one_hot(labels, k).amax(1).sum(1)
    # A run with an unused centre comes last, however well it fits.
    best = int((nearest.sum(1) + torch.where(used < k, torch.inf, 0.0))[runs].argmin())
    return labels[best], centres[best]


def _starts(points: Tensor, k: int, restarts: int, generator: torch.Generator) -> Tensor:
    """Starting centres of every run, ``(R, k, d)``."""
    n = len(points)
    picks = [torch.randint(n, (restarts,), generator=generator)]
    gap = torch.cdist(points, points).square().cpu()
    for _ in range(k - 1):
        closest = gap[torch.stack(picks)].amin(0)  # (R, n)
        # Points that coincide with all centres so far are drawn alike.
        weight = torch.where(closest.sum(1, keepdim=True) > 0, closest, torch.ones_like(closest))
        picks.append(torch.multinomial(weight, 1, generator=generator)[:, 0])
    return points[torch.stack(picks, 1).to(points.device)]
