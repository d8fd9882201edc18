"""How good the hidden part is, where the truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leads.adapters import Context
from leads.errors import DataError, SettingsError, ShapeError
from leads.hidden.dynamics import HiddenStateDynamics
from leads.trajectories import Trajectories


@dataclass(frozen=True)
class ChannelScores:
    """Agreement of states with the truth, by channel and lead time, over all environments, trajectories and points.

    Attributes:
        channels: names.
        times: lead times, ``(T,)``.
        correlation: Pearson's, ``(T, C)``; NaN where a field is constant.
        rmse: root mean square error in the channel's unit, ``(T, C)``.
        deviation: standard deviation of the truth, ``(T, C)``: what the error is to be measured by.
    """

    channels: tuple[str, ...]
    times: Tensor
    correlation: Tensor
    rmse: Tensor
    deviation: Tensor

    def __str__(self) -> str:
        rows = [f"{'channel':12} {'lead':>10} {'correlation':>12} {'rmse':>10} {'deviation':>10}"]
        for k in sorted({0, len(self.times) - 1}):
            for i, name in enumerate(self.channels):
                r, e, d = (float(v[k, i]) for v in (self.correlation, self.rmse, self.deviation))
                rows.append(f"{name:12} {float(self.times[k] - self.times[0]):10g} {r:12.3f} {e:10.3g} {d:10.3g}")
        return "\n".join(rows)


def channel_scores(states: Tensor, truth: Tensor, times: Tensor, channels: tuple[str, ...]) -> ChannelScores:
    """Scores of states ``(E, N, T, C, *X)`` against the truth of the same shape.

    Raises:
        ShapeError: shapes or names that do not fit.
    """
    if states.shape != truth.shape or states.shape[3] != len(channels) or len(times) != states.shape[2]:
        raise ShapeError(
            f"States {tuple(states.shape)}, truth {tuple(truth.shape)}, {len(channels)} channels and {len(times)} times do "
            "not fit: both are (E, N, T, C, *X)."
        )
    a, b = (x.double().movedim((2, 3), (0, 1)).flatten(2) for x in (states, truth))
    da, db = a - a.mean(2, keepdim=True), b - b.mean(2, keepdim=True)
    norm = da.norm(dim=2) * db.norm(dim=2)
    correlation = torch.where(norm > 0, (da * db).sum(2) / norm, torch.nan)
    return ChannelScores(channels, times, correlation, (a - b).square().mean(2).sqrt(), db.square().mean(2).sqrt())


@torch.no_grad()
def check_hidden(
    model: HiddenStateDynamics, contexts: Context, observed: Trajectories, truth: Trajectories
) -> ChannelScores:
    """Forecast the full state from the first observations and compare every channel with the truth.

    Args:
        model: trained.
        contexts: of these environments, e.g. of what ``leads.trained`` or ``leads.adapt`` returned.
        observed: observations of the trajectories; the first ``model.history`` frames are used.
        truth: the full states of the same trajectories at the same times.

    Returns:
        Scores from the time of the last frame that was used.

    Raises:
        SettingsError: a model without a hidden state.
        DataError, ShapeError: truth of other times or of another shape.
    """
    if not isinstance(model, HiddenStateDynamics):
        raise SettingsError(f"Only a model with a hidden state has a hidden part to check, got {type(model).__name__}.")
    if not torch.equal(observed.times, truth.times):
        raise DataError(
            "Observations and truth are given at different times. Cut both alike, e.g. by select(frames=...)."
        )
    like = next(model.parameters())
    frames = slice(model.history - 1, None)
    past, times = observed.first(model.history).to(like), observed.times[frames]
    states = model.states(past, times, contexts)
    names = tuple(c.name for c in model.operator.bound.channels)
    return channel_scores(states, truth.states[:, :, frames].to(states), times, names)
