"""A model with the contexts of particular environments: what adaptation returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leads.adapters import Context
from leads.contexts.flat import flatten, unflatten
from leads.dynamics import DecomposedDynamics
from leads.errors import DataError, SettingsError, ShapeError
from leads.integrators import check_times
from leads.training.files import model_from, read_tensors, write_tensors
from leads.trajectories import Trajectories


@dataclass(frozen=True)
class Adapted:
    """A forecaster for E environments.

    Attributes:
        model: the shared dynamics, as it was trained.
        contexts: stacked along E.
        covariance: of the flattened contexts, ``(E, d, d)``: ``sigma^2 (J^T J)^-1`` at the fit; ``None`` where the
            solver forms no Jacobian or nothing was fitted.
        parameters: true physical parameters ``(E, P)`` where the data carried them, for evaluation.
        info: solver, iterations, seconds, and per environment the loss and whether it converged.
    """

    model: DecomposedDynamics
    contexts: Context
    covariance: Tensor | None = None
    parameters: Tensor | None = None
    info: dict[str, Any] = field(default_factory=dict)
    #: The states from which the support's trajectories start, ``(E, N, *S)``, where they were estimated.
    initial: Tensor | None = None

    @torch.no_grad()
    def forecast(self, x0: Tensor, times: Tensor) -> Tensor:
        """Forecast from initial states.

        Args:
            x0: shape ``(E, N, C, *X)``, one row of N initial states per adapted environment; for a model that sees past
                frames, the last ones ``(E, N, history, C, *X)`` (:meth:`leads.Trajectories.first`).
            times: shape ``(T,)``, strictly increasing; the first is the time of ``x0``, or of its last frame.

        Returns:
            States, shape ``(E, N, T, C, *X)``; entries after a divergence are not finite.
        """
        self._check(x0, times)
        return self.model.rollout(x0.to(self._like()), times, self.contexts)

    @torch.no_grad()
    def ensemble(self, x0: Tensor, times: Tensor, n: int = 32, seed: int = 0) -> Tensor:
        """``n`` forecasts with contexts drawn from their Gaussian posterior: shape ``(n, E, N, T, C, *X)``."""
        if self.covariance is None:
            raise SettingsError(
                "There is no covariance to draw from: it comes with the levenberg_marquardt solver, which needs a "
                "context of moderate size."
            )
        self._check(x0, times)
        known = {k: self.contexts[k] for k in self.model.adapter.known}
        found = {k: v for k, v in self.contexts.items() if k not in known}
        mean = flatten(found).double()
        values, vectors = torch.linalg.eigh(self.covariance.double())
        root = vectors * values.clamp_min(0).sqrt()[:, None]
        noise = torch.randn(n, *mean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        draws = mean + torch.einsum("eij,nej->nei", root, noise.to(mean.device))
        contexts = unflatten(draws.flatten(0, 1).to(self._like()), found)
        contexts |= {k: v.repeat(n, *(1,) * (v.ndim - 1)) for k, v in known.items()}
        many = x0.to(self._like()).repeat(n, *(1,) * (x0.ndim - 1))
        return self.model.rollout(many, times, contexts).unflatten(0, (n, len(mean)))

    def save(self, path: str | Path) -> None:
        """Save model and contexts to one safe file, whole or not at all."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"context.{k}": v for k, v in self.contexts.items()}
        for name in ("covariance", "parameters"):
            value = getattr(self, name)
            if value is not None:
                tensors[name] = value
        write_tensors(path, tensors, {"recipe": self.model.recipe, "info": self.info}, "adapted model")

    @classmethod
    def load(cls, path: str | Path) -> Adapted:
        """Load what :meth:`save` wrote.

        Raises:
            CheckpointError: a file that is missing, truncated, or holds something else.
        """
        tensors, description = read_tensors(path, "adapted model")
        part = lambda prefix: {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}  # noqa: E731
        model = model_from(part("model."), description, path)
        return cls(
            model, part("context."), tensors.get("covariance"), tensors.get("parameters"), description.get("info", {})
        )

    def _like(self) -> Tensor:
        """A tensor with the model's dtype and device."""
        return next(iter([*self.model.parameters(), *self.contexts.values(), *self.model.buffers()]))

    def _check(self, x0: Tensor, times: Tensor) -> None:
        check_times(times)
        shape = tuple(self.model.recipe.get("state_shape", x0.shape[2 + (self.model.history > 1) :]))
        environments = next((v.shape[0] for v in self.contexts.values()), x0.shape[0])
        history = () if self.model.history == 1 else (self.model.history,)
        if tuple(x0.shape[2:]) != (*history, *shape) or x0.shape[0] != environments:
            expected = ", ".join(map(str, (environments, "N", *history, *shape)))
            letters = "(E, N, history, C, *X)" if history else "(E, N, C, *X)"
            raise ShapeError(f"Initial states need shape ({expected}) = {letters}, got {tuple(x0.shape)}.")
        if not bool(torch.isfinite(x0).all()):
            raise DataError("Initial states contain NaN or infinite values.")


@torch.no_grad()
def trained(model: DecomposedDynamics, parameters: Tensor | None = None, data: Trajectories | None = None) -> Adapted:
    """The seen environments with the contexts they were trained with.

    Args:
        model: trained dynamics.
        parameters: true physical parameters ``(E, P)`` for evaluation; those of ``data`` by default.
        data: training data of the seen environments. Sources that keep no table of them (an inner loop, an encoder)
            find the contexts on it; a table needs none.

    Raises:
        SettingsError: the source keeps no table and there are no data.
        ShapeError: data of another number of environments than the table has.
    """
    if parameters is None and data is not None:
        parameters = data.parameters
    table = getattr(model.source, "table", None)
    if table is not None:
        if data is not None:
            model.source.check(data)
        contexts = table()
    elif data is not None:
        like = next(iter([*model.parameters(), data.states]))
        contexts = model.source.train_contexts(model, None, data.to(like.device, like.dtype))
    else:
        raise SettingsError(
            "This model's context source keeps no table of seen environments: give their training data, "
            "trained(model, data=data.train)."
        )
    contexts = {k: v.detach() for k, v in contexts.items()} | model.adapter.given(parameters)
    return Adapted(model, contexts, None, parameters, {"solver": "training"})
