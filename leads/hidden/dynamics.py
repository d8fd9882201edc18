"""Dynamics of a state of which only a part is observed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from leads.adapters import Adapter, Context
from leads.contexts import ContextSource
from leads.dynamics import DecomposedDynamics
from leads.errors import DataError, SettingsError, ShapeError
from leads.hidden.encoder import StateEncoder
from leads.observation import Operator
from leads.trajectories import Trajectories


class HiddenStateDynamics(DecomposedDynamics):
    """An encoder, dynamics of the full state, and the operator that observes it:

        z(t0) = encoder(y(t0 - (k-1) d), ..., y(t0)),   dz/dt = f(t, z; context),   y(t) = H(t) z(t)

    To training, adaptation and evaluation it is a model of the observations y that starts from ``history = k`` frames, so
    ``leads.fit`` trains encoder, dynamics and contexts on what is observed alone, and ``leads.adapt`` finds contexts of new
    environments from their observations. Frames may have gaps (NaN). Penalties of the adapter that look at states get
    the encoder's.

    Only the observed part is compared with data. What the hidden part means is fixed by the known half of a hybrid, or by
    a stream of known structure; where the dynamics are a network alone, any hidden coordinates that forecast y serve,
    and they need not be the physical ones (Ayed et al., 2020, section 4).

    Args:
        adapter: field of the full state.
        source: of contexts, which sees the observations.
        encoder: see :class:`StateEncoder`.
        operator: bound to the full states.
        spacing: d, distance of the frames that the encoder reads.
        method, substeps, loss, memory, recipe: see :class:`leads.dynamics.DecomposedDynamics`.

    Raises:
        SettingsError: a source that reads frames of another shape than the observations.

    Source: Ayed et al. (2020), Learning dynamical systems from partial observations.
    """

    gaps = True

    def __init__(
        self,
        adapter: Adapter,
        source: ContextSource,
        encoder: StateEncoder,
        operator: Operator,
        spacing: float,
        method: str = "rk4",
        substeps: int = 1,
        loss: Literal["mse", "relative_l2"] = "mse",
        memory: Literal["store", "checkpoint"] = "store",
        recipe: dict[str, Any] | None = None,
    ) -> None:
        observed = operator.output.state_shape
        read = getattr(source, "state_shape", observed)
        if tuple(read) != observed:
            raise SettingsError(
                f"{type(source).__name__} reads whole states {tuple(read)}, and of these only {observed} is observed. Use a "
                "source that needs no states (a table, an inner loop), or make it for the observed shape."
            )
        super().__init__(adapter, source, method, substeps, loss, encoder.frames, memory, recipe)
        self.read_contexts = read_contexts(adapter) if len(encoder.origin) else ()
        if not spacing > 0:
            raise SettingsError(f"The distance of the frames that the encoder reads must be positive, got {spacing}.")
        self.encoder, self.operator, self.spacing = encoder, operator, float(spacing)

    @property
    def full(self) -> DecomposedDynamics:
        """The dynamics of the full state, which share the weights: their rollouts start from states."""
        return DecomposedDynamics(self.adapter, self.source, self.method, self.substeps, self.loss, memory=self.memory)

    def state(self, past: Tensor, t0: Tensor, contexts: Context) -> Tensor:
        """The full state at ``t0`` from the last observations.

        Args:
            past: ``(E, N, k, C', *X')``, oldest first (without the axis k where the encoder reads one), NaN where nothing
                was observed.
            t0: time of the last one, ``()`` or with axes that broadcast against ``(E, N)``.
            contexts: stacked along E.

        Returns:
            Shape ``(E, N, C, *X)``.
        """
        if self.history == 1:
            past = past.unsqueeze(2)
        observed = self.operator.output.state_shape
        if past.ndim != 3 + len(observed) or tuple(past.shape[2:]) != (self.history, *observed):
            raise ShapeError(
                f"This model starts from {self.history} observation(s), (E, N, {self.history}, *{observed}), got "
                f"{tuple(past.shape)}. Take Trajectories.first({self.history})."
            )
        back = torch.arange(1 - self.history, 1, device=past.device) * self.spacing
        codes = [contexts[name].flatten(1) for name in self.read_contexts]
        code = torch.cat(codes, 1) if codes else past.new_zeros(len(past), 0)
        state: Tensor = self.encoder(past, t0.to(past.device)[..., None] + back, self.operator, code)
        return state

    def states(self, past: Tensor, t: Tensor, contexts: Context) -> Tensor:
        """Forecast of the full state, ``(E, N, T, C, *X)``; arguments as for :meth:`rollout`."""
        return self.full.rollout(self.state(past, t[0], contexts), t, contexts)

    def rollout(self, x0: Tensor, t: Tensor, contexts: Context) -> Tensor:
        """Forecast of the observations.

        Args:
            x0: the last ``history`` observations, see :meth:`state`.
            t: shape ``(T,)`` or ``(T, B...)``, the first the time of the last observation.
            contexts: stacked along E.

        Returns:
            Shape ``(E, N, T, C', *X')``; the first frame is what the encoder's state looks like.
        """
        return self.operator(self.states(x0, t, contexts), t.movedim(0, -1).to(x0.device))

    def encoded(self, batch: Trajectories, contexts: Context) -> Trajectories:
        """The encoder's states at the ends of disjoint windows of k observations: ``(E, N, T // k, C, *X)``."""
        k = self.history
        count = len(batch.times) // k
        cut = batch.states[:, :, : count * k].unflatten(2, (count, k))
        ends = batch.times[k - 1 :: k][:count]
        past = cut.flatten(1, 2)
        t0 = ends.to(past.device).repeat(batch.n_trajectories)[None]
        states = self.state(past if k > 1 else past.squeeze(2), t0, contexts)
        layout = self.operator.bound
        return replace(
            batch,
            states=states.unflatten(1, (batch.n_trajectories, count)),
            times=ends,
            mask=None,
            channels=layout.channels,
            grid=layout.grid,
            operator=None,
        )

    def penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        return self.adapter.penalty(contexts, self._detached(batch, contexts))

    def adaptation_penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        return self.adapter.adaptation_penalty(contexts, self._detached(batch, contexts))

    @torch.no_grad()
    def _detached(self, batch: Trajectories, contexts: Context) -> Trajectories:
        return self.encoded(batch, contexts)


def read_contexts(adapter: Adapter) -> tuple[str, ...]:
    """Names of the contexts that an encoder may read: those that are trained and adapted."""
    return tuple(sorted(name for name in adapter.init_context() if name not in adapter.known))


def check_frames(data: Trajectories) -> float:
    """The distance of the frames of ``data``.

    Raises:
        DataError: they are not equally far apart, or there is one only.
    """
    gaps = data.times.diff()
    if not len(gaps) or bool(((gaps - gaps[0]).abs() > 1e-3 * gaps[0]).any()):
        raise DataError(
            "A model with a hidden state reads frames that are equally far apart; these are "
            f"{'one alone' if not len(gaps) else f'{float(gaps.min()):g} to {float(gaps.max()):g} apart'}. Put them on a "
            "uniform time axis and mask what was not observed (leads.trajectories.from_observations masks)."
        )
    return float(gaps[0])
