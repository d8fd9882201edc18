"""The least-squares problem of an adaptation: its unknowns, its residuals and their derivatives.

The unknowns of one environment are its context (d values) and, where they are estimated, the first states of its N
trajectories (k values each). All environments share one rollout.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leads.adapters import Context
from leads.adapters.pinned import Pinned
from leads.contexts.flat import flatten, unflatten
from leads.dynamics import DecomposedDynamics, forecast_error
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments, whole

#: Step of the central differences, near the cube root of float64's precision.
STEP = 1e-5


@dataclass(frozen=True)
class Point:
    """Values of the unknowns: flattened contexts ``(E, d)`` and first states ``(E, N, k)``, or ``None`` where given."""

    contexts: Tensor
    initial: Tensor | None = None

    def moved(self, contexts: Tensor, initial: Tensor | None) -> Point:
        """This point plus a step."""
        return Point(self.contexts + contexts, None if self.initial is None else self.initial + _given(initial))

    def where(self, rows: Tensor, other: Point) -> Point:
        """``other`` in the environments marked in ``rows`` ``(E,)``, this point elsewhere."""
        contexts = torch.where(rows[:, None], other.contexts, self.contexts)
        if self.initial is None:
            return Point(contexts)
        return Point(contexts, torch.where(rows[:, None, None], _given(other.initial), self.initial))

    def rows(self, index: Tensor) -> Point:
        """The environments with these numbers."""
        return Point(self.contexts[index], None if self.initial is None else self.initial[index])


@dataclass(frozen=True)
class Linear:
    """Residuals ``(E, N, M)`` and their Jacobians with respect to contexts ``(E, N, M, d)`` and to each trajectory's own
    first state ``(E, N, M, k)``, or ``None`` where these are given."""

    residual: Tensor
    contexts: Tensor
    initial: Tensor | None = None

    def where(self, rows: Tensor, other: Linear) -> Linear:
        """``other`` in the environments marked in ``rows`` ``(E,)``, this one elsewhere."""
        mark = rows[:, None, None]
        initial = None
        if self.initial is not None:
            initial = torch.where(mark[..., None], _given(other.initial), self.initial)
        return Linear(
            torch.where(mark, other.residual, self.residual),
            torch.where(mark[..., None], other.contexts, self.contexts),
            initial,
        )

    def with_rows(self, index: Tensor, other: Linear) -> Linear:
        """This one with the environments numbered in ``index`` replaced by those of ``other``."""
        initial = None if self.initial is None else self.initial.index_copy(0, index, _given(other.initial))
        return Linear(
            self.residual.index_copy(0, index, other.residual),
            self.contexts.index_copy(0, index, other.contexts),
            initial,
        )

    def finite(self) -> Tensor:
        """Whether nothing of an environment is NaN or infinite, shape ``(E,)``."""
        parts = [self.residual, self.contexts] + ([] if self.initial is None else [self.initial])
        return torch.stack([torch.isfinite(p).flatten(1).all(1) for p in parts]).all(0)


class Problem:
    """Residuals of a model on observations, as a function of a :class:`Point`.

    Args:
        model: in float64 where derivatives are taken by differences.
        support: observations, finite everywhere (:func:`leads.adaptation.support.filled`).
        start: stacked contexts, in the model's dtype; they name and order the entries of flattened ones.
        estimated: whether first states are unknowns. The first frame then counts as an observation.
        noise: standard deviation of each channel ``(C,)``, by which residuals are divided, or ``None``.
        copies: rows of each environment, as several starts need them.
    """

    def __init__(
        self,
        model: DecomposedDynamics,
        support: Trajectories,
        start: Context,
        estimated: bool = False,
        noise: Tensor | None = None,
        copies: int = 1,
    ) -> None:
        self.model, self.like, self.estimated, self.copies = model, start, estimated, copies
        self._support = support
        segments = whole(support, model.history)
        self.state_shape = support.state_shape
        if estimated:
            target, seen = support.states, support.mask
        else:
            target, seen = segments.target, segments.observed
        self._initial, self._target, self._times = segments.initial, target, segments.times
        self._seen = seen
        self.noise = None if noise is None else noise.to(target)
        e, n = target.shape[:2]
        self.n_environments, self.n_trajectories = e * copies, n
        everything = target.new_full((e,), float(target[0].numel()))
        self.count = (everything if seen is None else seen.flatten(1).sum(1).to(target)).repeat_interleave(copies, 0)
        self.seen = None if seen is None else seen.flatten(2).repeat_interleave(copies, 0)
        #: Size of each entry of a state, ``(k,)``: what a small change of a first state is measured by.
        self.scale = entry_size(support).to(target)

    def start(self, contexts: Tensor) -> Point:
        """The point with these flattened contexts ``(E, d)`` and the first states of the support."""
        if not self.estimated:
            return Point(contexts)
        return Point(contexts, self._initial.flatten(2).repeat_interleave(self.copies, 0))

    def single(self) -> Problem:
        """The same problem with one row for each environment."""
        return Problem(self.model, self._support, self.like, self.estimated, self.noise)

    def rows(self, index: Tensor) -> Problem:
        """The problem of some rows alone, one row for each."""
        which = torch.div(index, self.copies, rounding_mode="floor")
        model, adapter = self.model, self.model.adapter
        if isinstance(adapter, Pinned):
            model = model.with_adapter(Pinned(adapter.adapter, {k: v[which] for k, v in adapter.entries.items()}))
        support = self._support.select(environments=which.tolist())
        part = Problem(model, support, self.like, self.estimated, self.noise)
        part.scale = self.scale
        return part

    def mean_square(self, residual: Tensor) -> Tensor:
        """Mean square of residuals ``(E, N, M)`` over what is observed, in the units of the data, shape ``(E,)``."""
        if self.noise is not None:
            one = self.noise.reshape(-1, *(1,) * (len(self.state_shape) - 1)).expand(self.state_shape).flatten()
            residual = residual * one.repeat(residual.shape[2] // len(one))
        return residual.square().flatten(1).sum(1) / self.count

    @property
    def state_size(self) -> int:
        """Values of a first state that is estimated, 0 where it is given."""
        return self._initial[0, 0].numel() if self.estimated else 0

    def residual(self, point: Point) -> Tensor:
        """Forecast minus observation over the noise, zero where not observed: ``(E', N, M)`` for points with E' = m E rows,
        m of them for each environment in turn."""
        many = point.contexts.shape[0] // self._target.shape[0]
        rows = lambda x: x if many == 1 else x.repeat_interleave(many, 0)  # noqa: E731
        target = rows(self._target)
        seen = None if self._seen is None else rows(self._seen)
        contexts = unflatten(point.contexts, self.like)
        if point.initial is None:
            segments = Segments(rows(self._initial), target, self._times, seen)
            error = self.model.residuals(segments, contexts)
        else:
            x0 = point.initial.unflatten(2, self.state_shape)
            forecast = self.model.rollout(x0, self._times, contexts)
            # The first frame of a segment is its start and never compared; here it is an observation.
            error = forecast_error(
                torch.cat([forecast[:, :, :1], forecast], 2), Segments(x0, target, self._times, seen)
            )
        if self.noise is not None:
            error = error / self.noise.reshape(-1, *(1,) * (error.ndim - 4))
        return error.flatten(2)

    def linearise(self, point: Point) -> Linear:
        """Residuals and Jacobians from ONE rollout of ``2 (d + k) + 1`` rows for each environment.

        A row is the point itself, or the point moved a little to one side in one direction of the context, or in one
        direction of the first states, of all trajectories at once: each depends on its own alone. Central differences
        in float64 are as exact as a fit needs, and ten times cheaper than an eager forward-mode product through the
        rollout.
        """
        c, s = point.contexts, point.initial
        e, d = c.shape
        h = STEP * c.abs().clamp_min(1.0)
        moves = torch.diag_embed(h)  # (E, d, d): one row per direction
        here = c[:, None]
        if s is None:
            stacked = torch.cat([here, here + moves, here - moves], 1)
            r = self.residual(Point(stacked.flatten(0, 1))).unflatten(0, (e, 2 * d + 1))
            return Linear(r[:, 0], _difference(r, 1, d, h[:, :, None, None]).movedim(1, -1))
        k = s.shape[2]
        g = STEP * torch.maximum(s.abs(), self.scale)
        shifts = torch.diag_embed(g).transpose(1, 2)  # (E, k, N, k): direction j of every trajectory
        still, same = here.expand(e, 2 * k, d), s[:, None]
        contexts = torch.cat([here, here + moves, here - moves, still], 1)
        states = torch.cat([same.expand(e, 2 * d + 1, *s.shape[1:]), same + shifts, same - shifts], 1)
        both = Point(contexts.flatten(0, 1), states.flatten(0, 1))
        r = self.residual(both).unflatten(0, (e, 2 * (d + k) + 1))
        by_context = _difference(r, 1, d, h[:, :, None, None]).movedim(1, -1)
        by_state = _difference(r, 2 * d + 1, k, g.mT[..., None]).movedim(1, -1)
        return Linear(r[:, 0], by_context, by_state)


def _difference(r: Tensor, first: int, count: int, h: Tensor) -> Tensor:
    """Central differences from ``count`` rows moved forwards, from row ``first``, and as many moved backwards."""
    return (r[:, first : first + count] - r[:, first + count : first + 2 * count]) / (2 * h)


def entry_size(support: Trajectories) -> Tensor:
    """Root mean square of what is observed of each channel, 1 where that is nothing, for every entry of a state."""
    x = support.states if support.mask is None else torch.where(support.mask, support.states, torch.nan)
    size = x.square().movedim(3, 0).flatten(1).nanmean(1).sqrt()
    size = torch.where(torch.isfinite(size) & (size > 0), size, torch.ones_like(size))
    return size.reshape(-1, *(1,) * (x.ndim - 4)).expand(support.state_shape).flatten()


def _given(x: Tensor | None) -> Tensor:
    assert x is not None  # both points are of one problem
    return x


def flat_start(start: Context) -> Tensor:
    """Stacked contexts as ``(E, d)`` in float64."""
    return flatten(start).double()
