"""What one training step sees: which trajectories, cut where."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leads.environments import EnvironmentFamily
from leads.errors import SettingsError
from leads.training.fresh import fresh_environments
from leads.training.settings import ScheduledSampling, TrainerSettings
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments, cut, whole, windows


@dataclass(frozen=True)
class Episode:
    """What one step sees: contexts are found on the support, the loss is taken on the query.

    Attributes:
        support, query: trajectories of all environments; the same ones where nothing is split off.
        support_segments, query_segments: how they are cut for a loss.
        environments: which of the seen environments these are, shape ``(E,)``; ``None`` where they are all of them, in
            their order, or fresh ones.
    """

    support: Trajectories
    support_segments: Segments
    query: Trajectories
    query_segments: Segments
    environments: Tensor | None = None


class Episodes:
    """Draws the batch of every step from its number and the seed alone, so that a resumed run draws the same.

    A batch is ``settings.batch`` trajectories (the same numbers in all environments, as in the published samplers) of
    ``settings.environments_per_step`` environments, cut by the horizon curriculum or by scheduled sampling. Support and
    query are parted before the cut, so no target of one is in the other.

    Args:
        data: trajectories of the seen environments.
        settings: see :class:`leads.training.TrainerSettings`.
        family: where fresh environments are drawn from; needed with ``settings.fresh_environments``.
        history: frames that the model sees, see :class:`leads.dynamics.DecomposedDynamics`.

    Raises:
        SettingsError: at construction, where the data leave nothing for the query, or the support too little, or hold
            too few environments, or there is no family for fresh ones.
    """

    def __init__(
        self,
        data: Trajectories,
        settings: TrainerSettings,
        family: EnvironmentFamily | None = None,
        history: int = 1,
    ) -> None:
        self.data, self.settings, self.history = data, settings, history
        self.fresh = fresh_environments(family, data, settings)
        self._cache: tuple[tuple[int, int], Episode] | None = None
        if settings.environments_per_step > data.n_environments and not self.fresh:
            raise SettingsError(
                f"environments_per_step={settings.environments_per_step} asks for more environments than the "
                f"{data.n_environments} of the data. Give fewer, or 0 for all."
            )
        if settings.support >= data.n_trajectories:
            raise SettingsError(
                f"support={settings.support} leaves none of the {data.n_trajectories} trajectories per environment for "
                "the query. Give fewer, or support=0, where the same trajectories are both."
            )
        if settings.support_frames >= len(data.times):
            raise SettingsError(
                f"support_frames={settings.support_frames} leaves none of the {len(data.times)} frames for the query."
            )
        if 0 < settings.support_frames <= history:
            raise SettingsError(
                f"support_frames={settings.support_frames} is not more than the {history} past frames that the model "
                "starts from: no frame of the support would be forecast. Give more, or support_frames=0."
            )

    def draw(self, step: int) -> Episode:
        """The episode of step ``step``."""
        s = self.settings
        data = self.fresh.at(step) if self.fresh else self.data
        full = not 0 < s.batch < data.n_trajectories
        every = not 0 < s.environments_per_step < data.n_environments
        if full and every and not s.support and s.scheduled_sampling is None:
            key = (s.horizon(step), self.fresh.number(step) if self.fresh else 0)
            if self._cache is None or self._cache[0] != key:
                self._cache = (key, self._cut(data, step, None))
            return self._cache[1]
        generator = torch.Generator().manual_seed(s.seed * 1_000_003 + step)
        if not full or s.support:
            size = data.n_trajectories if full else s.batch
            data = data.select(trajectories=torch.randperm(data.n_trajectories, generator=generator)[:size].tolist())
        if every:
            return self._cut(data, step, generator)
        rows = torch.randperm(data.n_environments, generator=generator)[: s.environments_per_step].sort().values
        episode = self._cut(data.select(environments=rows.tolist()), step, generator)
        return episode if self.fresh else replace(episode, environments=rows)

    def _cut(self, batch: Trajectories, step: int, generator: torch.Generator | None) -> Episode:
        s = self.settings

        def segments(part: Trajectories) -> Segments:
            if s.scheduled_sampling is None or generator is None:
                return _window(part, s.horizon(step), self.history)
            return sampled(part, s.scheduled_sampling, step, generator, self.history)

        if s.support:
            support = batch.select(trajectories=slice(0, s.support))
            query = batch.select(trajectories=slice(s.support, None))
        elif s.support_frames:
            support = batch.select(frames=slice(0, s.support_frames))
            query = batch.select(frames=slice(s.support_frames - self.history, None))
        else:
            both = segments(batch)
            return Episode(batch, both, batch, both)
        return Episode(support, segments(support), query, segments(query))


def _window(data: Trajectories, horizon: int, history: int) -> Segments:
    return windows(data, horizon, history) if horizon else whole(data, history)


def sampled(
    data: Trajectories, rule: ScheduledSampling, step: int, generator: torch.Generator, history: int = 1
) -> Segments:
    """Segments between the restarts that scheduled sampling draws; the last frame never restarts, and with
    ``history > 1`` none restarts before so many are given."""
    first, last = history - 1, len(data.times) - 1
    epsilon = rule.epsilon(step)
    inner = range(first + 1, last)
    restart = torch.rand(len(inner), generator=generator) < epsilon
    starts = [first, *(k for k, again in zip(inner, restart.tolist(), strict=True) if again)]
    lengths = [b - a for a, b in zip(starts, [*starts[1:], last], strict=True)]
    return cut(data, starts, lengths, history)
