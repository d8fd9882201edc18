"""The only model class that the rest of the library sees."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from leads.adapters import Adapter, Context
from leads.contexts import ContextSource
from leads.errors import SettingsError, ShapeError, UnknownNameError
from leads.integrators import integrate, integrate_adjoint, integrate_history, integrate_written, tableau, taken_once
from leads.registry import nearest
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments, stacked, whole

LOSSES = ("mse", "relative_l2")
MEMORIES = ("store", "checkpoint", "adjoint")


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
        history: how many frames the network sees: the present one and those before it, stacked on its input channels,
            oldest first (see :func:`leads.integrators.integrate_history`). The adapter's network is then one of
            ``history * C`` channels, of whose output the last C count.
        memory: what a rollout keeps for gradients. ``"store"`` keeps everything; ``"checkpoint"`` the state before every
            step, and evaluates steps again on the way back (the same gradients for a third more time); ``"adjoint"``
            nothing but the frames, and solves the adjoint equation (gradients to the order of the method; once
            differentiable, so not for second-order inner loops; see :func:`leads.integrators.integrate_adjoint`).
        recipe: how :func:`leads.algorithms.build` made the model; written to files.

    Attributes:
        gaps: whether forecasts may start from frames with missing values (NaN).
    """

    gaps: bool = False

    def __init__(
        self,
        adapter: Adapter,
        source: ContextSource,
        method: str = "rk4",
        substeps: int = 1,
        loss: Literal["mse", "relative_l2"] = "mse",
        history: int = 1,
        memory: Literal["store", "checkpoint", "adjoint"] = "store",
        recipe: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        tableau(method)
        if substeps < 1:
            raise SettingsError(f"substeps must be at least 1, got {substeps}.")
        if not tableau(method).order and substeps > 1:
            raise SettingsError(f"The one-step map (method {method!r}) has no steps between frames, got {substeps}.")
        if history < 1:
            raise SettingsError(f"history counts the frames that the network sees, at least 1, got {history}.")
        if history > 1 and not source.histories:
            raise SettingsError(
                f"{type(source).__name__} finds contexts for a field of the present state alone, and history={history} gives "
                "it past frames too. Use history=1, or another context source."
            )
        if loss not in LOSSES:
            raise UnknownNameError(f"No loss is named {loss!r}. {nearest(str(loss), LOSSES)}")
        if memory not in MEMORIES:
            raise UnknownNameError(f"No way to keep rollouts is named {memory!r}. {nearest(str(memory), MEMORIES)}")
        if memory == "adjoint" and (history > 1 or not tableau(method).order):
            raise SettingsError(
                "memory='adjoint' integrates the state backwards, which neither one-step maps (method 'map') nor histories "
                "of frames have. Use memory='checkpoint'."
            )
        self.adapter, self.source = adapter, source
        self.method, self.substeps, self.loss, self.history = method, substeps, loss, history
        self.memory: Literal["store", "checkpoint", "adjoint"] = memory
        self.recipe: dict[str, Any] = recipe or {}

    def rollout(self, x0: Tensor, t: Tensor, contexts: Context) -> Tensor:
        """Forecast from initial states.

        Args:
            x0: shape ``(E, N, C, *X)``; where ``history > 1``, the last frames ``(E, N, history, C, *X)``, oldest first.
            t: shape ``(T,)``, strictly increasing, or ``(T, B...)`` with axes that broadcast against ``(E, N)``.
            contexts: stacked along E (empty for adapters without context).

        Returns:
            States, shape ``(E, N, T, C, *X)``; the first frame is ``x0``, or the last one given.
        """
        for name, value in contexts.items():
            if value.shape[0] != x0.shape[0]:
                raise ShapeError(
                    f"The context {name!r} covers {value.shape[0]} environments, the initial states {x0.shape[0]} (axis 0)."
                )
        prepared = self.adapter.prepare_all(contexts)
        steps: dict[str, Any] = {"method": self.method, "substeps": self.substeps}
        if self.memory == "adjoint" and torch.is_grad_enabled():
            leaves, structure = tree_flatten(prepared)
            tensors = [w for w in leaves if isinstance(w, Tensor)]
            return integrate_adjoint(self._open(leaves, structure), x0, t, tensors, **steps).movedim(0, 2)
        if self.memory == "store" and self.history == 1 and taken_once() and tableau(self.method).order:
            passes = self.adapter.passes(prepared)
            if passes is not None:
                return integrate_written(passes, x0, t, **steps).movedim(0, 2)
        steps["checkpoint"] = self.memory == "checkpoint"
        field = lambda s, x: self.adapter.forward_all(s, x, prepared)  # noqa: E731
        if self.history == 1:
            return integrate(field, x0, t, **steps).movedim(0, 2)
        if x0.ndim < 4 or x0.shape[2] != self.history:
            raise ShapeError(
                f"This model starts from {self.history} frames, (E, N, {self.history}, C, *X), got {tuple(x0.shape)}. "
                f"Take Trajectories.first({self.history})."
            )
        channels = x0.shape[3]
        last = lambda s, x: field(s, x)[:, :, -channels:]  # noqa: E731
        return integrate_history(last, x0, t, axis=2, **steps).movedim(0, 2)

    def _open(self, leaves: list[Any], structure: TreeSpec) -> Callable[..., Tensor]:
        """The field as a function of the tensors among what the adapter prepared."""

        def field(t: Tensor, x: Tensor, *tensors: Tensor) -> Tensor:
            given = iter(tensors)
            filled = [next(given) if isinstance(w, Tensor) else w for w in leaves]
            return self.adapter.forward_all(t, x, tree_unflatten(filled, structure))

        return field

    def with_adapter(self, adapter: Adapter) -> DecomposedDynamics:
        """The same source, integrator and loss around another adapter; what is kept is shared, not copied."""
        twin = copy.copy(self)
        twin._modules = {**self._modules, "adapter": adapter}
        return twin

    def residuals(self, segments: Segments, contexts: Context) -> Tensor:
        """Forecast minus data on segments, zero where not observed: shape ``(E, N, L, C, *X)``.

        The first frame of a segment is its given start and is left out.
        """
        return forecast_error(self.rollout(segments.initial, segments.times, contexts), segments)

    def loss_per_environment(self, batch: Trajectories | Segments, contexts: Context) -> Tensor:
        """Data loss of every environment, shape ``(E,)``."""
        segments = whole(batch, self.history) if isinstance(batch, Trajectories) else batch
        return error_size(self.residuals(segments, contexts), segments, self.loss)

    def penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        """The adapter's penalty on the batch as its network sees it."""
        return self.adapter.penalty(contexts, stacked(batch, self.history))

    def adaptation_penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        """The adapter's penalty of each environment, shape ``(E,)``, on the batch as its network sees it."""
        return self.adapter.adaptation_penalty(contexts, stacked(batch, self.history))


def forecast_error(forecast: Tensor, segments: Segments) -> Tensor:
    """Forecast ``(E, N, L + 1, C, *X)`` minus data ``(E, N, L, C, *X)``, zero where not observed."""
    error = forecast[:, :, 1:] - segments.target
    # where, not a product: a padded or unobserved entry may be anything, and must not send NaN back.
    return error if segments.observed is None else torch.where(segments.observed, error, error.new_zeros(()))


def error_size(error: Tensor, segments: Segments, loss: str) -> Tensor:
    """The loss called ``loss`` of every environment, shape ``(E,)``, from :func:`forecast_error`."""
    if loss == "mse":
        square = error.square().flatten(1).sum(1)
        return square / segments.count(error)
    scale = segments.target if segments.observed is None else torch.where(segments.observed, segments.target, 0.0)
    return (error.flatten(2).norm(dim=2) / scale.flatten(2).norm(dim=2).clamp_min(1e-12)).mean(1)
