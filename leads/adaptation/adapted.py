"""A model with the contexts of particular environments: what adaptation returns."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leads.adaptation.bands import make_bands, moments
from leads.adaptation.calibration import RATE, Calibration, fingerprint
from leads.adaptation.posterior import Bands, Method, covariance_of, free_context, square_root
from leads.adapters import Context
from leads.contexts.flat import flatten, unflatten
from leads.dynamics import DecomposedDynamics
from leads.errors import DataError, SettingsError, ShapeError
from leads.integrators import check_times
from leads.training.files import model_from, read_tensors, write_tensors
from leads.trajectories import Trajectories

if TYPE_CHECKING:
    from leads.adaptation.online import OnlineAdapter


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
        calibration: of the bands and the alarms, see :meth:`calibrated`; saved along.
        initial: the states from which the support's trajectories start, ``(E, N, *S)``, where they were estimated.
        support: the observations that were adapted to; kept in memory, not in files.
        online: what :meth:`update` knows of all observations so far; kept in memory, not in files.
    """

    model: DecomposedDynamics
    contexts: Context
    covariance: Tensor | None = None
    parameters: Tensor | None = None
    info: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    initial: Tensor | None = None
    support: Trajectories | None = field(default=None, repr=False, compare=False)
    online: OnlineAdapter | None = field(default=None, repr=False, compare=False)

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
        self.check_start(x0, times)
        return self.model.rollout(x0.to(self.like()), times, self.contexts)

    @torch.no_grad()
    def ensemble(self, x0: Tensor, times: Tensor, n: int = 32, seed: int = 0) -> Tensor:
        """``n`` forecasts with contexts drawn from their Gaussian posterior: shape ``(n, E, N, T, C, *X)``.

        Raises:
            SettingsError: there is no covariance, or ``n`` is not a whole number of at least 1.
        """
        if not isinstance(n, int) or n < 1:
            raise SettingsError(f"An ensemble needs a whole number of draws of at least 1, got {n!r}.")
        covariance = covariance_of(self)
        self.check_start(x0, times)
        known = {k: self.contexts[k] for k in self.model.adapter.known}
        found = {k: v for k, v in self.contexts.items() if k not in known}
        mean, root = flatten(found).double(), square_root(covariance)
        noise = torch.randn(n, *mean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        draws = mean + torch.einsum("eij,nej->nei", root, noise.to(mean.device))
        contexts = unflatten(draws.flatten(0, 1).to(self.like()), found)
        contexts |= {k: v.repeat(n, *(1,) * (v.ndim - 1)) for k, v in known.items()}
        many = x0.to(self.like()).repeat(n, *(1,) * (x0.ndim - 1))
        return self.model.rollout(many, times, contexts).unflatten(0, (n, len(mean)))

    @torch.no_grad()
    def bands(
        self,
        x0: Tensor,
        times: Tensor,
        level: float = 0.9,
        method: Method | None = None,
        *,
        calibration: Calibration | None = None,
        noise: bool = True,
        draws: int = 256,
        seed: int = 0,
    ) -> Bands:
        """The forecast with its uncertainty: the context's posterior pushed through the dynamics.

        Without calibration the bands hold what the fit knows of: the spread of the context, and the residual variance of
        the support as noise of every entry. An error of the model that grows with time is not in them; a calibration
        measures it.

        Args:
            x0, times: as for :meth:`forecast`.
            level: probability that a band is to hold for each entry.
            method: ``"linearised"`` (the default; to first order, ``J Sigma J^T``, Gaussian) or ``"sampled"`` (quantiles
                of ``draws`` forecasts).
            calibration: what :func:`leads.calibrate` returned; the adapted model's own by default. It brings its method,
                noise, draws and seed, and warns where the environments are outside what the model knows.
            noise: whether to add the support's residual variance: bands of observations rather than of the mean.

        Raises:
            SettingsError: no covariance, a level that is none or needs more held-out environments, a calibration of
                another model or made by another method.
            ShapeError, DataError: as :meth:`forecast`.
        """
        self.check_start(x0, times)
        calibration = self.calibration if calibration is None else calibration
        if calibration is None:
            return make_bands(self, x0, times, level, method or "linearised", noise, draws, seed)
        if method not in (None, calibration.method):
            raise SettingsError(
                f"The calibration was made for {calibration.method} bands, got method={method!r}. Leave method out, or "
                f"calibrate with method={method!r}."
            )
        return calibration.bands(self, x0, times, level)

    @torch.no_grad()
    def moments(
        self, x0: Tensor, times: Tensor, method: Method, noise: bool = True, draws: int = 256, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the uncalibrated forecast, each ``(E, N, T, C, *X)``, float64."""
        self.check_start(x0, times)
        return moments(self, x0, times, method, noise, draws, seed)

    def calibrated(self, calibration: Calibration) -> Adapted:
        """The same, with bands and warnings by this calibration.

        Raises:
            SettingsError: the calibration of another model.
        """
        calibration.refuse_others(self)
        return replace(self, calibration=calibration)

    def warnings(self, rate: float = RATE) -> list[str]:
        """What to know before trusting a forecast, one sentence each: fits that did not converge, and where there is a
        calibration, conditions that it was not made for and environments outside what the model knows (``rate``:
        probability of a false alarm)."""
        loose = [e for e, done in enumerate(self.info.get("converged", [])) if not done]
        found = [f"The fit of environment {e} did not converge: raise iterations or steps." for e in loose]
        calibration = self.calibration
        if calibration is None or "loss" not in self.info:
            return found
        found += calibration.differences(self)
        if not calibration.resolves(rate):
            return [*found, calibration.too_few(rate)]
        return found + calibration.check(self, rate, warn=False).sentences()

    @property
    def members(self) -> tuple[Adapted, ...]:
        """Itself: an ensemble of one."""
        return (self,)

    def posterior(self) -> tuple[Tensor, Tensor | None]:
        """The contexts that were found, flattened, ``(E, d)``, and their covariance ``(E, d, d)``; float64."""
        return free_context(self), None if self.covariance is None else self.covariance.double()

    def support_loss(self) -> Tensor:
        """What the fit left of the support's loss, ``(E,)`` float64.

        Raises:
            SettingsError: it is not known: nothing was fitted.
        """
        loss = self.info.get("loss")
        if loss is None:
            raise SettingsError(
                "These contexts come without the loss on their support (they were trained, or there are none to find), so "
                "nothing tells whether the environments are ordinary. Adapt them: leads.adapt(model, support)."
            )
        return torch.as_tensor(loss, dtype=torch.float64)

    def fingerprint(self) -> str:
        """Hash of the model's recipe and weights, which a calibration remembers."""
        return fingerprint(self.model)

    def update(self, more: Trajectories, fresh: bool = False, **settings: Any) -> Adapted:
        """Refine the contexts with new observations, at the cost of the new ones alone (information form).

        Args:
            more: what came next on the same trajectories, at later times; with ``fresh``, new trajectories of the same
                environments.
            fresh: see there.
            settings: of :class:`leads.adaptation.OnlineAdapter` (``noise``, ``forgetting``, ...), at the first update.

        Returns:
            A new forecaster; this one stays as it is.

        Raises:
            SettingsError: no support in memory (after :meth:`load`), or settings at a later update.
            ShapeError, DataError: observations that do not go on from these.
        """
        from leads.adaptation.online import OnlineAdapter

        if self.online is not None and settings:
            raise SettingsError(
                f"The first update chose the settings; {', '.join(settings)} cannot change now. Start from the adapted model "
                "before it."
            )
        if self.online is None and self.support is None:
            raise SettingsError(
                "The observations so far are not in this file. Build OnlineAdapter(adapted, support) from them, or adapt again."
            )
        online = copy.copy(self.online) if self.online is not None else OnlineAdapter(self, self.support, **settings)  # type: ignore[arg-type]
        return replace(online.update(more, fresh), online=online, calibration=None)

    def save(self, path: str | Path) -> None:
        """Save model and contexts to one safe file, whole or not at all."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"context.{k}": v for k, v in self.contexts.items()}
        for name in ("covariance", "parameters", "initial"):
            value = getattr(self, name)
            if value is not None:
                tensors[name] = value
        description = {"recipe": self.model.recipe, "info": self.info}
        if self.calibration is not None:
            tensors |= {f"calibration.{k}": v for k, v in self.calibration.tensors().items()}
            description["calibration"] = self.calibration.description()
        write_tensors(path, tensors, description, "adapted model")

    @classmethod
    def load(cls, path: str | Path) -> Adapted:
        """Load what :meth:`save` wrote.

        Raises:
            CheckpointError: a file that is missing, truncated, or holds something else.
        """
        tensors, description = read_tensors(path, "adapted model")
        part = lambda prefix: {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}  # noqa: E731
        model = model_from(part("model."), description, path)
        calibration = None
        if "calibration" in description:
            calibration = Calibration.restore(part("calibration."), description["calibration"], path)
        return cls(
            model,
            part("context."),
            tensors.get("covariance"),
            tensors.get("parameters"),
            description.get("info", {}),
            calibration=calibration,
            initial=tensors.get("initial"),
        )

    def like(self) -> Tensor:
        """A tensor with the model's dtype and device."""
        return next(iter([*self.model.parameters(), *self.contexts.values(), *self.model.buffers()]))

    def check_start(self, x0: Tensor, times: Tensor) -> None:
        """Raise :class:`ShapeError` or :class:`DataError` unless a forecast can start from ``x0`` at ``times``."""
        check_times(times)
        shape = tuple(self.model.recipe.get("state_shape", x0.shape[2 + (self.model.history > 1) :]))
        environments = next((v.shape[0] for v in self.contexts.values()), x0.shape[0])
        history = () if self.model.history == 1 else (self.model.history,)
        if tuple(x0.shape[2:]) != (*history, *shape) or x0.shape[0] != environments:
            expected = ", ".join(map(str, (environments, "N", *history, *shape)))
            letters = "(E, N, history, C, *X)" if history else "(E, N, C, *X)"
            raise ShapeError(f"Initial states need shape ({expected}) = {letters}, got {tuple(x0.shape)}.")
        if not self.model.gaps and not bool(torch.isfinite(x0).all()):
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
