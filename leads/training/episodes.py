"""What one training step sees: which trajectories, cut where."""

from __future__ import annotations

import torch

from leads.training.settings import ScheduledSampling, TrainerSettings
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments, cut, whole, windows


class Episodes:
    """Draws the batch of every step from its number and the seed alone, so that a resumed run draws the same.

    A batch is ``settings.batch`` trajectories of every environment (the same numbers in all, as in the published
    samplers), cut by the horizon curriculum or by scheduled sampling.
    """

    def __init__(self, data: Trajectories, settings: TrainerSettings) -> None:
        self.data, self.settings = data, settings
        self._cache: dict[int, Segments] = {}

    def draw(self, step: int) -> tuple[Trajectories, Segments]:
        """The trajectories of step ``step`` and their segments."""
        s, data = self.settings, self.data
        full = not 0 < s.batch < data.n_trajectories
        if full and s.scheduled_sampling is None:
            horizon = s.horizon(step)
            if horizon not in self._cache:
                self._cache = {horizon: _window(data, horizon)}
            return data, self._cache[horizon]
        generator = torch.Generator().manual_seed(s.seed * 1_000_003 + step)
        if not full:
            data = data.select(
                trajectories=torch.randperm(data.n_trajectories, generator=generator)[: s.batch].tolist()
            )
        if s.scheduled_sampling is None:
            return data, _window(data, s.horizon(step))
        return data, sampled(data, s.scheduled_sampling, step, generator)


def _window(data: Trajectories, horizon: int) -> Segments:
    return windows(data, horizon) if horizon else whole(data)


def sampled(data: Trajectories, rule: ScheduledSampling, step: int, generator: torch.Generator) -> Segments:
    """Segments between the restarts that scheduled sampling draws; the last frame never restarts."""
    last = len(data.times) - 1
    epsilon = rule.epsilon(step)
    restart = torch.rand(max(last - 1, 0), generator=generator) < epsilon
    starts = [0, *(i + 1 for i in range(last - 1) if bool(restart[i]))]
    lengths = [b - a for a, b in zip(starts, [*starts[1:], last], strict=True)]
    return cut(data, starts, lengths)
