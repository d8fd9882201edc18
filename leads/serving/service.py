"""What the HTTP service does, without HTTP."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leads.adaptation import Adapted, adapt
from leads.contexts.flat import flatten, size
from leads.dynamics import DecomposedDynamics
from leads.environments import make
from leads.errors import CheckpointError, LeadsError, SettingsError
from leads.experiment import Run
from leads.serving.arrays import nested, tensor
from leads.serving.limits import Limits, TooLargeError, UnknownIdError
from leads.training import load_model
from leads.trajectories import Trajectories
from leads.version import __version__

#: Draws from a context's posterior for standard deviations.
DRAWS = 32
#: The id of the environments that came with an adapted model.
SAVED = "saved"


class Service:
    """A model that adapts and forecasts, and remembers what it adapted to.

    Args:
        model: trained dynamics, or a model adapted before, whose environments have the id ``"saved"``.
        limits: of requests.
    """

    def __init__(self, model: DecomposedDynamics | Adapted, limits: Limits | None = None) -> None:
        self.saved = model if isinstance(model, Adapted) else None
        self.model = model.model if isinstance(model, Adapted) else model
        self.limits = limits or Limits()
        self._kept: OrderedDict[str, Adapted] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: str | Path, limits: Limits | None = None) -> Service:
        """From a run folder, a model file or an adapted model's file.

        Raises:
            FileError, CheckpointError: it is none of these.
        """
        path = Path(path)
        if path.is_dir():
            return cls(Run(path).model(), limits)
        try:
            return cls(load_model(path), limits)
        except CheckpointError as error:
            if "holds a adapted model" not in str(error):
                raise
        return cls(Adapted.load(path), limits)

    def card(self) -> dict[str, Any]:
        """What the model is, and what requests must look like."""
        recipe = self.model.recipe
        context = self.model.adapter.init_context()
        try:
            channels = [{"name": c.name, "unit": c.unit} for c in make(recipe.get("family", "")).system.channels]
        except LeadsError:  # own data, whose names the model does not carry
            channels = []
        shape = list(recipe.get("state_shape") or self.model.adapter.state_shape or [])
        return {
            "leads": __version__,
            "family": recipe.get("family"),
            "algorithm": recipe.get("algorithm"),
            "backbone": recipe.get("backbone"),
            "channels": channels if len(channels) == (shape or [0])[0] else [],
            "state_shape": shape,
            "history": self.model.history,
            "context": {k: list(v.shape) for k, v in context.items()},
            "context_size": sum(v.numel() for v in context.values()),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "limits": vars(self.limits),
            "saved": self.saved is not None,
        }

    def adapt(self, states: Any, times: Any, **settings: Any) -> dict[str, Any]:
        """Adapt to observations ``(E, N, T, C, *X)``, ``None`` where not observed, at times ``(T,)``.

        Raises:
            LeadsError: observations that do not fit, are too large, or whose rollout diverges.
        """
        x = tensor("states", states, 3 + len(self._shape), self.limits.values, missing=True)
        t = tensor("times", times, 1, self.limits.frames)
        self._bound(x.shape[0], x.shape[1], x.shape[2])
        seen = torch.isfinite(x)
        mask = None if bool(seen.all()) else seen
        if mask is not None and not bool(seen[:, :, : self.model.history].all()):
            raise SettingsError("The first frame must be observed whole: it is where the forecast starts.")
        adapted = adapt(self.model, Trajectories(x, t, mask=mask), **settings)
        key = secrets.token_hex(8)
        with self._lock:
            self._kept[key] = adapted
            while len(self._kept) > self.limits.kept:
                self._kept.popitem(last=False)
        info, e = adapted.info, x.shape[0]
        converged = [bool(c) for c in info.get("converged", [True] * e)]
        return {
            "id": key,
            "contexts": {k: nested(v) for k, v in adapted.contexts.items()},
            "covariance": None if adapted.covariance is None else nested(adapted.covariance),
            "loss": nested(torch.tensor(info.get("loss", [float("nan")] * e), dtype=torch.float64)),
            "converged": converged,
            "iterations": int(info.get("iterations", 0)),
            "warnings": [str(w) for w in info.get("warnings", [])] + _warnings(adapted, seen, converged),
        }

    def forecast(self, x0: Any, times: Any, id: str | None, contexts: Any, deviations: bool) -> dict[str, Any]:
        """Forecast from ``x0`` ``(E, N, C, *X)`` (``(E, N, history, C, *X)`` where the model sees past frames), with the
        contexts of ``id`` or with given ones.

        Raises:
            LeadsError: as :meth:`adapt`; an id that is not known.
        """
        past = int(self.model.history > 1)
        x = tensor("x0", x0, 2 + past + len(self._shape), self.limits.values)
        t = tensor("times", times, 1, self.limits.frames)
        self._bound(x.shape[0], x.shape[1], len(t))
        draws = DRAWS if deviations else 1
        states = x.numel() // (self.model.history if past else 1) * len(t) * draws
        if states > self.limits.values:
            raise TooLargeError(
                f"The forecast has {states} numbers (draws counted), at most {self.limits.values} are made."
            )
        if (id is None) == (contexts is None):
            raise SettingsError("Give either the id of an adaptation or contexts, not both.")
        adapted = self._find(id) if id is not None else self._given(contexts)
        forecast = adapted.forecast(x, t)
        result: dict[str, Any] = {"states": nested(forecast), "finite": bool(torch.isfinite(forecast).all())}
        if deviations:
            result["standard_deviations"] = nested(adapted.ensemble(x, t, n=DRAWS).std(0))
        return result

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(self.model.recipe.get("state_shape") or self.model.adapter.state_shape or (1,))

    def _bound(self, environments: int, trajectories: int, frames: int) -> None:
        given = {"environments": environments, "trajectories": trajectories, "frames": frames}
        for name, count in given.items():
            most = getattr(self.limits, name)
            if count > most:
                raise TooLargeError(f"The request has {count} {name}, at most {most} are taken.")

    def _find(self, key: str) -> Adapted:
        if key == SAVED and self.saved is not None:
            return self.saved
        with self._lock:
            if key not in self._kept:
                raise UnknownIdError(
                    f"No adaptation has the id {key[:40]!r}: ids live as long as the service and at most {self.limits.kept} are "
                    "kept. Adapt again, or send the contexts."
                )
            self._kept.move_to_end(key)
            return self._kept[key]

    def _given(self, contexts: Any) -> Adapted:
        start = self.model.adapter.init_context()
        if not isinstance(contexts, dict) or contexts.keys() != start.keys():
            raise SettingsError(f"contexts must be an object with the entries {sorted(start)}.")
        like = next(iter([*self.model.parameters(), *self.model.buffers()]))
        given: dict[str, Tensor] = {}
        for name, value in start.items():
            entry = tensor(f"contexts.{name}", contexts[name], 1 + value.ndim, self.limits.values)
            if entry.shape[1:] != value.shape:
                raise SettingsError(
                    f"contexts.{name} needs shape (E, {', '.join(map(str, value.shape))}), got {tuple(entry.shape)}."
                )
            given[name] = entry.to(like)
        return Adapted(self.model, given)


def _warnings(adapted: Adapted, seen: Tensor, converged: list[bool]) -> list[str]:
    found = [f"Environment {e} has not converged." for e, done in enumerate(converged) if not done]
    if size(adapted.contexts):
        d, counts = flatten(adapted.contexts).shape[1], seen[:, :, 1:].flatten(1).sum(1)
        if adapted.covariance is not None:
            few = [e for e, n in enumerate(counts.tolist()) if n <= d]
            found += [f"Environment {e} has no more observations than its context has values ({d})." for e in few]
    return found
