"""Shared weights and contexts that take turns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError
from leads.training.settings import TrainerSettings


class Alternation:
    """Blocks of steps in which only the shared weights move, then only what the context source holds, in turn.

    Where ``settings.proximal`` is beta > 0, each block minimises ``objective + beta / 2 mean (z - z_0)^2``, z being all
    values that move in it and z_0 what they were when it began.

    Args:
        model: whose parameters take turns.
        settings: ``alternate`` says how many steps a block has (0: as the model's context source asks).

    Raises:
        SettingsError: one half has nothing to train (at use where that shows in its gradients), or a proximal term without
            turns.

    Source: Attouch et al. (2010), Math. Oper. Res. 35 (proximal alternating minimisation); the mean in place of the sum
    is that of the public code of Nzoyem et al. (2025).
    """

    def __init__(self, model: DecomposedDynamics, settings: TrainerSettings) -> None:
        self.every, self.beta = settings.alternate or model.source.alternate, settings.proximal
        own = {id(p) for p in model.source.parameters()}
        live = [p for p in model.parameters() if p.requires_grad]
        self.halves = [p for p in live if id(p) not in own], [p for p in live if id(p) in own]
        if self.beta and not self.every:
            raise SettingsError("proximal holds the blocks of an alternation: set alternate, the steps of a block.")
        if self.every and not all(self.halves):
            what = "shared weights" if self.halves[1] else "learned contexts"
            raise SettingsError(f"This model has no {what}, so nothing can take turns: leave alternate at 0.")
        #: What the block's parameters were when it began; empty without a proximal term.
        self.anchors: list[Tensor] = []

    def begin(self, step: int) -> None:
        """Before the gradients of ``step``: a block that begins remembers where."""
        if self.beta and (step % self.every == 0 or not self.anchors):
            self.anchors = [p.detach().clone() for p in self._moving(step)]

    @torch.no_grad()
    def hold(self, step: int) -> None:
        """After the gradients of ``step``: drop those of the half that is still, so that the optimiser skips it."""
        if not self.every:
            return
        for p in self.halves[1 - self._turn(step)]:
            p.grad = None
        moving = self._moving(step)
        if all(p.grad is None for p in moving):
            what = "contexts are" if self._turn(step) else "shared weights are"
            raise SettingsError(f"In their turn the {what} held by the model itself: leave alternate at 0.")
        if not self.beta:
            return
        share = self.beta / sum(p.numel() for p in moving)
        for p, anchor in zip(moving, self.anchors, strict=True):
            if p.grad is not None:
                p.grad.add_(p - anchor, alpha=share)

    def _turn(self, step: int) -> int:
        return step // self.every % 2

    def _moving(self, step: int) -> list[nn.Parameter]:
        return self.halves[self._turn(step)]
