"""Learned contexts that come with a neighbour's."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from leads.adapters import Adapter, Context
from leads.adapters.taylor import anchored
from leads.contexts.source import Dynamics
from leads.contexts.table import Table
from leads.errors import SettingsError, UnknownNameError
from leads.registry import nearest
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments

POOLS = ("random_all", "nearest", "smallest")


class NeighbourTable(Table):
    """A table whose training contexts come with another row as anchor, for an adapter that expands its field there.

    Each environment's anchor is drawn uniformly from its pool, anew at every call under gradients (one neighbour a step
    has the mean of a whole pool). Without gradients, in validation and in forecasts, and for new environments, contexts
    come alone and the expansion is exact.

    Args:
        adapter, environments, start: of :class:`Table`.
        pool: ``"random_all"`` (``size`` rows drawn at random), ``"nearest"`` (the ``size`` rows nearest in L1 distance,
            the environment's own among them) or ``"smallest"`` (the ``size`` rows of smallest L1 norm).
        size: of the pool (0: all rows).
        alternate: see :class:`leads.contexts.ContextSource`.
        seed: of the draws; their count is saved with the model, so a resumed run draws the same.

    Raises:
        SettingsError, UnknownNameError: at construction, for an adapter that does not expand its field, or bad settings.

    Source: Nzoyem et al. (2025), Neural Context Flows (pools RA, NF, SF; "smallest" in the L1 norm is our reading).
    """

    draws: Tensor

    def __init__(
        self,
        adapter: Adapter,
        environments: int,
        start: Literal["init", "mean"] = "init",
        pool: Literal["random_all", "nearest", "smallest"] = "random_all",
        size: int = 0,
        alternate: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(adapter, environments, start)
        if not adapter.expands:
            raise SettingsError(
                f"{type(adapter).__name__} has no use for the contexts of neighbours: only an adapter that expands its field "
                "in the context has. Wrap it in the adapter taylor, or use a Table."
            )
        if pool not in POOLS:
            raise UnknownNameError(f"No pool of neighbours is named {pool!r}. {nearest(str(pool), POOLS)}")
        if size < 0 or alternate < 0:
            raise SettingsError(f"A pool's size and alternate need to be >= 0, got {size} and {alternate}.")
        self.pool, self.size, self.alternate, self.seed = pool, min(size or environments, environments), alternate, seed
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def train_contexts(
        self, model: Dynamics, environments: Tensor | None, support: Trajectories, segments: Segments | None = None
    ) -> Context:
        own = super().train_contexts(model, environments, support, segments)
        if not own or not torch.is_grad_enabled():
            return own
        rows = self.anchors(environments)
        return anchored(own, {name: value[rows] for name, value in self.table().items()})

    @torch.no_grad()
    def pools(self, generator: torch.Generator) -> Tensor:
        """Rows from which every seen environment draws, shape ``(E, size)``."""
        if self.pool == "random_all":
            return torch.randperm(self.environments, generator=generator)[: self.size].expand(self.environments, -1)
        flat = torch.cat([v.flatten(1) for v in self.table().values()], 1)
        if self.pool == "smallest":
            smallest = flat.abs().sum(1).argsort(stable=True)[: self.size]
            return smallest.expand(self.environments, -1)
        return torch.cdist(flat, flat, p=1).argsort(dim=1, stable=True)[:, : self.size]

    def anchors(self, environments: Tensor | None = None) -> Tensor:
        """Draw the anchors' rows for these environments (all by default), shape ``(E,)``."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.draws))
        self.draws += 1
        pools = self.pools(generator)
        pick = torch.randint(self.size, (self.environments, 1), generator=generator)
        rows = pools.gather(1, pick.to(pools.device))[:, 0]
        return rows if environments is None else rows[environments.to(rows.device)]
