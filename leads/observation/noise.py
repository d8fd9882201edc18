"""White noise of the instrument."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leads.errors import SettingsError, ShapeError
from leads.observation.operator import Layout, Operator, operators


@operators.register("noise")
@dataclass(frozen=True, eq=False)
class Noise(Operator):
    """Independent Gaussian noise on every value.

    Args:
        sd: standard deviation in the unit of the channels, one for all or one for each.

    Raises:
        SettingsError: a deviation that is negative or not finite.
        ShapeError: when bound, another number of deviations than channels.
    """

    kind = "noise"
    sd: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        sd = tuple(float(v) for v in self.sd) if isinstance(self.sd, tuple | list) else float(self.sd)
        object.__setattr__(self, "sd", sd)
        if not all(0 <= v < float("inf") for v in (sd if isinstance(sd, tuple) else (sd,))):
            raise SettingsError(f"Noise needs standard deviations that are finite and not negative, got {self.sd}.")

    def check(self, layout: Layout) -> None:
        if isinstance(self.sd, tuple) and len(self.sd) != len(layout.channels):
            raise ShapeError(
                f"Noise has {len(self.sd)} standard deviations, and {len(layout.channels)} channels are observed."
            )

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        del t
        return x

    def observe(self, x: Tensor, mask: Tensor, t: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        del t
        # Drawn in float64 on the processor, so that a seed names the same noise everywhere.
        draw = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
        return x + draw * self._deviations(x).reshape(-1, *(1,) * len(self.bound.space)), mask

    def variance(self, variance: Tensor) -> Tensor:
        return variance + self._deviations(variance).square()

    def _deviations(self, like: Tensor) -> Tensor:
        sd = self.sd if isinstance(self.sd, tuple) else (self.sd,) * len(self.bound.channels)
        return torch.tensor(sd, dtype=like.dtype, device=like.device)
