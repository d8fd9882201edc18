"""Forecasts of adapted environments and their derivatives in the context and in the start, from one stacked rollout."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from leads.adapters import Context
from leads.contexts.flat import flatten, unflatten
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError

#: Relative step of central differences: near the cube root of float64's rounding, where their two errors balance.
STEP = 1e-5
#: Directions at most; each costs two rollouts.
MOST = 256


def free_contexts(model: DecomposedDynamics, contexts: Context) -> Context:
    """The entries of ``contexts`` that adaptation finds: all but those that come with the data."""
    return {k: v for k, v in contexts.items() if k not in model.adapter.known}


class Tangents:
    """The dynamics of E environments in float64, as a function of their free contexts ``(E, d)``.

    The model is copied and cast, so that its own weights keep their bits. Derivatives are central differences: 2 m
    perturbed rollouts beside the unperturbed one, in one batch.

    Args:
        model: trained dynamics.
        contexts: of the E environments, stacked.

    Raises:
        SettingsError: a model without a context, or with one of more than 256 values.
    """

    def __init__(self, model: DecomposedDynamics, contexts: Context) -> None:
        free = free_contexts(model, contexts)
        if not free:
            raise SettingsError(
                "This model has no context to differentiate in: all its environments are the same to it. Choose a "
                "method whose environments have contexts."
            )
        self.start = flatten(free).detach().double()
        if self.size > MOST:
            raise SettingsError(
                f"Derivatives in the {self.size} values of each context would take {2 * self.size} rollouts, and {MOST} "
                "values are the most. Choose a method with smaller contexts (a code)."
            )
        self.model = copy.deepcopy(model).double().requires_grad_(False)
        self._like = {k: v.detach().double() for k, v in free.items()}
        self._held = {k: v.detach().double() for k, v in contexts.items() if k not in free}

    @property
    def size(self) -> int:
        """d, the values in one environment's free context."""
        return self.start.shape[1]

    def contexts(self, flat: Tensor) -> Context:
        """Whole contexts of free ones ``(k E, d)``, k rows an environment side by side."""
        copies = flat.shape[0] // self.start.shape[0]
        held = {k: v.repeat_interleave(copies, 0) for k, v in self._held.items()}
        return unflatten(flat, self._like) | held

    @torch.no_grad()
    def forecast(self, x0: Tensor, times: Tensor, flat: Tensor) -> Tensor:
        """Shape ``(E, N, T, C, *X)``; ``x0`` as for :meth:`leads.Adapted.forecast`."""
        return self.model.rollout(x0.to(self.start), times, self.contexts(flat))

    @torch.no_grad()
    def linearise(
        self, x0: Tensor, times: Tensor, flat: Tensor, moves: Tensor | None = None, starts: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The forecast and its derivatives along m directions.

        Args:
            x0: starts ``(E, N, C, *X)`` or, for a model that sees past frames, ``(E, N, history, C, *X)``.
            times: shape ``(T,)``.
            flat: free contexts ``(E, d)``.
            moves: the directions' parts in the context, ``(m, d)``; the d unit vectors by default.
            starts: their parts in the start, ``(E, m, *x0.shape[1:])``; none by default.

        Returns:
            Forecast ``(E, N, T, C, *X)`` and derivatives ``(E, m, N, T, C, *X)``.
        """
        e, d = flat.shape
        moves = torch.eye(d, dtype=flat.dtype, device=flat.device) if moves is None else moves
        m = len(moves)
        reach = moves.abs().amax(1).expand(e, m)
        if starts is not None:
            reach = torch.maximum(reach, starts.abs().flatten(2).amax(2))
        size = (moves.abs() * flat.abs().clamp_min(1.0)[:, None]).amax(2).clamp_min(1.0)
        h = STEP * size / reach.clamp_min(1.0)  # (E, m)
        shift = h[:, :, None] * moves
        stacked = torch.cat([flat[:, None], flat[:, None] + shift, flat[:, None] - shift], 1)
        begin = x0.to(flat)[:, None]
        if starts is None:
            begin = begin.expand(-1, 2 * m + 1, *(-1,) * (x0.ndim - 1))
        else:
            turn = h.reshape(e, m, *(1,) * (x0.ndim - 1)) * starts
            begin = torch.cat([begin, begin + turn, begin - turn], 1)
        out = self.model.rollout(begin.flatten(0, 1), times, self.contexts(stacked.flatten(0, 1)))
        out = out.unflatten(0, (e, 2 * m + 1))
        wide = (2 * h).reshape(e, m, *(1,) * (out.ndim - 2))
        return out[:, 0], (out[:, 1 : m + 1] - out[:, m + 1 :]) / wide
