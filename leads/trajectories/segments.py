"""Trajectories cut into segments that are advanced side by side.

A trajectory cut into windows of h steps is a batch: the solver's sequential depth is h, not T. Horizon curricula and
the papers' scheduled sampling differ only in where they cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leads.errors import SettingsError
from leads.trajectories.trajectories import Trajectories


@dataclass(frozen=True)
class Segments:
    """Parts of trajectories as a batch.

    Attributes:
        initial: shape ``(E, N K, C, *X)``: the first frame of each of the K segments of every trajectory; cut with
            ``history > 1``, the so many frames that end with it, ``(E, N K, history, C, *X)``.
        target: the frames after it, shape ``(E, N K, L, C, *X)``; short segments are padded at the end.
        times: shape ``(L + 1,)`` where all segments share it, else ``(L + 1, 1, N K)``; padded frames repeat the last
            time, so that the solver stands still there.
        observed: ``True`` where the target counts, broadcastable to its shape; ``None`` where all of it does.
    """

    initial: Tensor
    target: Tensor
    times: Tensor
    observed: Tensor | None = None

    def count(self, error: Tensor) -> Tensor:
        """Number of observed entries per environment, shape ``(E,)`` or a scalar."""
        if self.observed is None:
            return error.new_tensor(float(error[0].numel()))
        return self.observed.expand_as(error).flatten(1).sum(1).clamp_min(1)


def whole(batch: Trajectories, history: int = 1) -> Segments:
    """Every trajectory as one segment, which starts once ``history`` frames are given."""
    after = slice(history, None)
    return Segments(batch.first(history), batch.states[:, :, after], batch.times[history - 1 :], _mask(batch, after))


def windows(batch: Trajectories, horizon: int, history: int = 1) -> Segments:
    """Windows of ``horizon`` steps, the fewest that cover all frames, spread evenly (neighbours may overlap)."""
    steps = len(batch.times) - history
    if not horizon >= 1:
        raise SettingsError(f"A window needs a horizon of at least 1 step, got {horizon}.")
    if horizon >= steps:
        return whole(batch, history)
    count = -(-steps // horizon)
    starts = [history - 1 + round(i * (steps - horizon) / (count - 1)) for i in range(count)]
    return cut(batch, starts, [horizon] * count, history)


def cut(batch: Trajectories, starts: list[int], lengths: list[int], history: int = 1) -> Segments:
    """Segments of every trajectory that start at frames ``starts`` and run for ``lengths`` steps.

    With ``history > 1`` the frames before each start are given too; no start is earlier than frame ``history - 1``.
    """
    longest = max(lengths)
    device = batch.states.device
    first = torch.tensor(starts)
    steps = torch.tensor(lengths)
    frames = first[:, None] + torch.minimum(torch.arange(longest + 1), steps[:, None])
    picked = batch.states[:, :, frames.to(device)]  # (E, N, K, L + 1, *S)
    n = picked.shape[1]
    flat = picked.flatten(1, 2)
    observed = None
    if min(lengths) < longest:
        kept = torch.arange(1, longest + 1) <= steps[:, None]
        observed = kept.repeat(n, 1).reshape(1, -1, longest, *(1,) * len(batch.state_shape)).to(device)
    if batch.mask is not None:
        seen = batch.mask[:, :, frames[:, 1:].to(device)].flatten(1, 2)
        observed = seen if observed is None else observed & seen
    initial = flat[:, :, 0]
    if history > 1:
        given = first[:, None] + torch.arange(1 - history, 1)
        initial = batch.states[:, :, given.to(device)].flatten(1, 2)
    return Segments(initial, flat[:, :, 1:], _segment_times(batch.times, frames, n), observed)


def stacked(batch: Trajectories, history: int) -> Trajectories:
    """The data as a network with ``history`` input frames sees them: disjoint windows of so many frames, stacked on the
    channels, oldest first: states ``(E, N, T // history, history C, *X)``. Frames that fill no window are left out."""
    if history == 1:
        return batch
    count = len(batch.times) // history
    fold = lambda x: x[:, :, : count * history].unflatten(2, (count, history)).flatten(3, 4)  # noqa: E731
    mask = None if batch.mask is None else fold(batch.mask)
    return replace(batch, states=fold(batch.states), times=batch.times[history - 1 :: history], mask=mask, channels=())


def _segment_times(times: Tensor, frames: Tensor, n: int) -> Tensor:
    """One shared time axis where all segments step alike from the same time or the grid is uniform, else one each."""
    each = times[frames]  # (K, L + 1)
    if bool((each == each[:1]).all()):
        return each[0]
    return each.repeat(n, 1).mT.unsqueeze(1)


def _mask(batch: Trajectories, frames: slice) -> Tensor | None:
    return None if batch.mask is None else batch.mask[:, :, frames]
