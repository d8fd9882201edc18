"""Several starting contexts for each environment, where the loss may have several minima."""

from __future__ import annotations

import torch
from torch import Tensor

from leads.adaptation.levenberg_marquardt import Box
from leads.adaptation.prior import seen_contexts, seen_gaussian
from leads.adaptation.problem import Point, Problem
from leads.adapters import Context
from leads.contexts.source import ContextSource
from leads.errors import SettingsError


@torch.no_grad()
def several_starts(
    problem: Problem, source: ContextSource, start: Context, origin: Tensor, n: int, box: Box | None, seed: int
) -> Tensor:
    """The usual start, the seen contexts with the least loss, then draws: ``(E n, d)``, an environment's n in a row.

    Half of the further starts are seen contexts, as far as there are so many. Draws come from the Gaussian of the seen
    contexts (:func:`leads.adaptation.prior.seen_gaussian`); where the source keeps none, or they are all the same, all
    further starts are drawn evenly from the box.

    Args:
        problem: with one row for each environment.
        source: of the model.
        start: stacked contexts that name the entries.
        origin: the usual start, ``(E, d)``.
        n: starts of each environment.
        box: bounds of contexts.
        seed: of the draws.

    Raises:
        SettingsError: there are no seen contexts to draw from, and no bounds either.
    """
    e, d = origin.shape
    generator = torch.Generator().manual_seed(seed)
    try:
        rows = seen_contexts(source, start).to(origin.device)
        mean, covariance = seen_gaussian(rows)
    except SettingsError:
        if box is None:
            raise
        low, high = box
        uniform = torch.rand(e, n - 1, d, generator=generator, dtype=torch.float64).to(origin.device)
        return torch.cat([origin[:, None], low + (high - low) * uniform], 1).flatten(0, 1)
    near = _nearest(problem, rows, e)[:, : n // 2]
    normal = torch.randn(e, n - 1 - near.shape[1], d, generator=generator, dtype=torch.float64).to(origin.device)
    draws = mean + normal @ torch.linalg.cholesky(covariance).mT
    return torch.cat([origin[:, None], near, draws], 1).flatten(0, 1)


def _nearest(problem: Problem, rows: Tensor, e: int) -> Tensor:
    """Seen contexts ``(K, d)`` in the order of their loss on each environment, ``(E, K, d)``."""
    k, d = rows.shape
    point = problem.start(rows.expand(e, k, d).flatten(0, 1))
    if point.initial is not None:
        point = Point(point.contexts, point.initial.repeat_interleave(k, 0))
    loss = problem.residual(point).square().flatten(1).sum(1).unflatten(0, (e, k))
    order = torch.where(torch.isfinite(loss), loss, torch.inf).argsort(1)
    return rows[order]
