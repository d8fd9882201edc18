"""The only model class that the rest of the library sees."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from leads.adapters import Adapter, Context
from leads.contexts import ContextSource
from leads.errors import SettingsError, ShapeError, UnknownNameError
from leads.integrators import integrate, tableau
from leads.registry import nearest
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments, whole

LOSSES = ("mse", "relative_l2")


class DecomposedDynamics(nn.Module):
    """An adapter, a source of contexts, and an integrator.

    Args:
        adapter: what a context changes.
        source: where a context comes from.
        method: integration method, see :func:`leads.integrators.tableau`. With ``"map"`` the network is not a field but
            a one-step map, ``x_{k+1} = x_k + F(x_k)``: for frames as far apart as those it was trained on.
        substeps: integration steps between two frames. With one step a coarse time grid makes the network a flow map
            rather than a field (Gray-Scott's frames are 16 stable steps apart); results say which was used.
        loss: ``"mse"`` (mean square over all entries) or ``"relative_l2"`` (norm of the error over that of the data,
            per trajectory).
        recipe: how :func:`leads.algorithms.build` made the model; written to files.
    """

    def __init__(
        self,
        adapter: Adapter,
        source: ContextSource,
        method: str = "rk4",
        substeps: int = 1,
        loss: Literal["mse", "relative_l2"] = "mse",
        recipe: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        tableau(method)
        if substeps < 1:
            raise SettingsError(f"substeps must be at least 1, got {substeps}.")
        if not tableau(method).order and substeps > 1:
            raise SettingsError(f"The one-step map (method {method!r}) has no steps between frames, got {substeps}.")
        if loss not in LOSSES:
            raise UnknownNameError(f"No loss is named {loss!r}. {nearest(str(loss), LOSSES)}")
        self.adapter, self.source = adapter, source
        self.method, self.substeps, self.loss = method, substeps, loss
        self.recipe: dict[str, Any] = recipe or {}

    def rollout(self, x0: Tensor, t: Tensor, contexts: Context) -> Tensor:
        """Forecast from initial states.

        Args:
            x0: shape ``(E, N, C, *X)``.
            t: shape ``(T,)``, strictly increasing, or ``(T, B...)`` with axes that broadcast against ``(E, N)``.
            contexts: stacked along E (empty for adapters without context).

        Returns:
            States, shape ``(E, N, T, C, *X)``; the first frame is ``x0``.
        """
        for name, value in contexts.items():
            if value.shape[0] != x0.shape[0]:
                raise ShapeError(
                    f"The context {name!r} covers {value.shape[0]} environments, the initial states {x0.shape[0]} (axis 0)."
                )
        prepared = self.adapter.prepare_all(contexts)
        states = integrate(
            lambda s, x: self.adapter.forward_all(s, x, prepared), x0, t, method=self.method, substeps=self.substeps
        )
        return states.movedim(0, 2)

    def with_adapter(self, adapter: Adapter) -> DecomposedDynamics:
        """The same source, integrator and loss around another adapter; what is kept is shared, not copied."""
        twin = copy.copy(self)
        twin._modules = {**self._modules, "adapter": adapter}
        return twin

    def residuals(self, segments: Segments, contexts: Context) -> Tensor:
        """Forecast minus data on segments, zero where not observed: shape ``(E, N, L, C, *X)``.

        The first frame of a segment is its given start and is left out.
        """
        forecast = self.rollout(segments.initial, segments.times, contexts)[:, :, 1:]
        error = forecast - segments.target
        # where, not a product: a padded or unobserved entry may be anything, and must not send NaN back.
        return error if segments.observed is None else torch.where(segments.observed, error, error.new_zeros(()))

    def loss_per_environment(self, batch: Trajectories | Segments, contexts: Context) -> Tensor:
        """Data loss of every environment, shape ``(E,)``."""
        segments = whole(batch) if isinstance(batch, Trajectories) else batch
        error = self.residuals(segments, contexts)
        if self.loss == "mse":
            square = error.square().flatten(1).sum(1)
            return square / segments.count(error)
        scale = segments.target if segments.observed is None else torch.where(segments.observed, segments.target, 0.0)
        return (error.flatten(2).norm(dim=2) / scale.flatten(2).norm(dim=2).clamp_min(1e-12)).mean(1)
