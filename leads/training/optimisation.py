"""The optimiser, its schedule, and the moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError
from leads.training.settings import TrainerSettings


def make_optimizer(model: DecomposedDynamics, settings: TrainerSettings) -> torch.optim.Adam:
    """Adam on the shared weights and the contexts, which may have a learning rate of their own."""
    contexts = [p for p in model.source.parameters() if p.requires_grad]
    own = {id(p) for p in contexts}
    shared = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    groups = []
    if shared:
        groups.append({"params": shared, "lr": settings.lr, "peak": settings.lr})
    if contexts:
        peak = settings.context_lr or settings.lr
        groups.append({"params": contexts, "lr": peak, "peak": peak})
    if not groups:
        raise SettingsError(
            "This model has nothing to train: no learned weight, parameter or context. Adapt or evaluate it."
        )
    return torch.optim.Adam(groups, betas=settings.betas, weight_decay=settings.weight_decay, fused=True)


def rate(settings: TrainerSettings, step: int) -> float:
    """Share of the peak learning rate at step ``step``."""
    if settings.schedule == "constant":
        return 1.0
    rise = settings.warmup * settings.steps if settings.schedule == "one_cycle" else 0.0
    if step < rise:
        return 0.04 + 0.96 * step / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(settings.steps - rise, 1)))


class WeightAverage:
    """Exponential moving average of all parameters of a model; a decay of zero keeps just the latest ones."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live = list(model.parameters())
        self.values = [p.detach().clone() for p in self._live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the live parameters; early steps count more, so that the start is soon forgotten."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [p.detach() for p in self._live], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the average with the live parameters; calling it twice restores both."""
        if not self.decay:
            return
        for value, p in zip(self.values, self._live, strict=True):
            held = p.detach().clone()
            p.copy_(value)
            value.copy_(held)

    def load(self, values: list[Tensor]) -> None:
        """Restore saved averages."""
        for value, saved in zip(self.values, values, strict=True):
            value.copy_(saved)
