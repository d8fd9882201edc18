"""From the last observations to the full state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from leads.algorithms.build import call
from leads.backbones import Backbone, backbones
from leads.errors import SettingsError
from leads.observation import Operator


class StateEncoder(nn.Module):
    """``z(t) = H+ y(t) + scale phi(y(t - (k-1) d), ..., y(t))``: the full state from the last k observations, d apart.

    ``H+ y`` is the state that the last observation suggests (:meth:`leads.observation.Operator.back`: observed channels
    themselves, 0 elsewhere). phi is a network over the k frames on the states' space axes side by side, each channel less
    its mean over its deviation, entries that nothing is known of as 0; with ``masks`` it also sees which these are. With
    ``context`` it sees the context of the environment too, less where contexts start, as channels that are constant in
    space: what surface height says of currents depends on the Coriolis parameter.

    Args:
        operator: bound to the full states.
        frames: k.
        network: a registered backbone; it is made for ``max(inputs, channels of the state)`` channels, and the last ones
            of its output count.
        settings: its arguments.
        scale: size of each channel of the state, one for all or one each.
        masks: whether there are gaps.
        context: where the contexts that it reads start, flattened, ``(d,)``; none by default.

    Raises:
        SettingsError: no frames, or scales that are not positive, or not one a channel.

    Source: Ayed et al. (2020), Learning dynamical systems from partial observations, where the network also gives the
    observed part.
    """

    mean: Tensor
    deviation: Tensor
    scale: Tensor
    origin: Tensor

    def __init__(
        self,
        operator: Operator,
        frames: int,
        network: str = "resnet",
        settings: Mapping[str, Any] | None = None,
        scale: float | list[float] | tuple[float, ...] = 1.0,
        masks: bool = False,
        context: Tensor | None = None,
    ) -> None:
        super().__init__()
        states, seen = operator.bound, operator.output
        count = len(states.channels)
        scales = [float(scale)] * count if isinstance(scale, int | float) else [float(v) for v in scale]
        if frames < 1:
            raise SettingsError(f"The encoder reads at least one observation, got frames={frames}.")
        if len(scales) != count or not all(0 < v < float("inf") for v in scales):
            names = ", ".join(c.name for c in states.channels)
            raise SettingsError(
                f"scale needs one positive number, or one for each channel of the state ({names}), got {scale}."
            )
        self.frames, self.masks, self.count = frames, masks, count
        origin = torch.zeros(0) if context is None else context.detach().clone()
        self.inputs = frames * len(seen.channels) * (1 + masks) + len(origin)
        shape = (max(self.inputs, count), *states.space)
        self.network: Backbone = call(backbones[network], f"backbone {network!r}", shape, **dict(settings or {}))
        ones = (1,) * len(states.space)
        self.register_buffer("mean", torch.zeros(len(seen.channels), *ones))
        self.register_buffer("deviation", torch.ones(len(seen.channels), *ones))
        self.register_buffer("scale", torch.tensor(scales).reshape(count, *ones))
        self.register_buffer("origin", origin)

    @torch.no_grad()
    def standardise(self, states: Tensor, mask: Tensor | None) -> None:
        """Keep mean and deviation of the observed channels of training data ``(E, N, T, C', *X')``."""
        x = states.double() if mask is None else torch.where(mask, states.double(), torch.nan)
        x = x.movedim(3, 0).flatten(1)
        mean = x.nanmean(1)
        deviation = (x - mean[:, None]).square().nanmean(1).sqrt()
        good = torch.isfinite(deviation) & (deviation > 0)
        self.mean.copy_(torch.where(torch.isfinite(mean), mean, 0.0).reshape(self.mean.shape))
        self.deviation.copy_(torch.where(good, deviation, 1.0).reshape(self.deviation.shape))

    def forward(self, past: Tensor, times: Tensor, operator: Operator, context: Tensor) -> Tensor:
        """States ``(E, N, C, *X)`` at the last of the times.

        Args:
            past: the last k observations ``(E, N, k, C', *X')``, NaN where there is none.
            times: theirs, ``(k,)`` or ``(E, N, k)`` with axes that broadcast.
            operator: what made them.
            context: flattened, ``(E, d)``.
        """
        seen = torch.isfinite(past)
        known = torch.where(seen, past, past.new_zeros(()))
        values, there = operator.gridded(known, seen, times)
        values = torch.where(there, (values - self.mean) / self.deviation, values.new_zeros(()))
        parts = torch.cat([values, there.to(values)], 3) if self.masks else values
        inputs = parts.flatten(2, 3)
        lead, space = inputs.shape[:2], inputs.shape[3:]
        codes = (context - self.origin)[:, None].reshape(len(context), 1, -1, *(1,) * len(space))
        inputs = torch.cat([inputs, codes.expand(*lead, -1, *space)], 2).flatten(0, 1)
        blank = self.count - self.inputs
        if blank > 0:
            inputs = torch.cat([inputs, inputs.new_zeros(len(inputs), blank, *inputs.shape[2:])], 1)
        out = self.network(inputs.new_zeros(()), inputs)[:, -self.count :].unflatten(0, past.shape[:2])
        state, told = operator.back(known[:, :, -1:], seen[:, :, -1:], times[..., -1:])
        suggested = torch.where(told, state, state.new_zeros(()))[:, :, 0]
        return suggested + self.scale * out
