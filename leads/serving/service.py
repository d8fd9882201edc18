"""What the HTTP service does, without HTTP."""

from __future__ import annotations

import secrets
import threading
import warnings
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leads.adaptation import Adapted, Calibration, adapt
from leads.adaptation.conformal import environments_needed
from leads.contexts.flat import flatten, size
from leads.dynamics import DecomposedDynamics
from leads.environments import make
from leads.errors import CheckpointError, LeadsError, LimitsWarning, SettingsError
from leads.experiment import Run
from leads.experiment.run import CALIBRATION
from leads.serving.arrays import nested, tensor
from leads.serving.deadline import Deadline
from leads.serving.limits import Limits, TooLargeError, UnknownIdError
from leads.training import load_model
from leads.trajectories import Trajectories
from leads.version import __version__

#: Draws from a context's posterior for standard deviations.
DRAWS = 32
#: Of calibrated bands, where a request names no other.
LEVEL = 0.9
NO_BANDS = "The service has no calibration for this forecast: calibrate the model (leads calibrate RUN) to get bands that hold."
UNCALIBRATED = (
    "standard_deviations are not calibrated: they are the spread over the posterior of the context and know nothing of the "
    "model's own error. " + NO_BANDS
)
SPREAD = "standard_deviations are the spread over the posterior of the context alone; bands are calibrated."
#: The id of the environments that came with an adapted model.
SAVED = "saved"


class Service:
    """A model that adapts and forecasts, and remembers what it adapted to.

    Args:
        model: trained dynamics, or a model adapted before, whose environments have the id ``"saved"``.
        limits: of requests.
        calibration: of the model (:func:`leads.calibrate`), by which forecasts carry bands; that of a model adapted
            before by default.

    Raises:
        SettingsError: the calibration of another model.
    """

    def __init__(
        self, model: DecomposedDynamics | Adapted, limits: Limits | None = None, calibration: Calibration | None = None
    ) -> None:
        self.saved = model if isinstance(model, Adapted) else None
        self.model = model.model if isinstance(model, Adapted) else model
        self.limits = limits or Limits()
        self.calibration = calibration or (self.saved.calibration if self.saved else None)
        if self.calibration is not None:
            self.calibration.refuse_others(Adapted(self.model, {}))
        self._kept: OrderedDict[str, Adapted] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: str | Path, limits: Limits | None = None, calibration: str | Path | None = None) -> Service:
        """From a run folder, a model file or an adapted model's file.

        Args:
            path: of these; a run folder that was calibrated (``leads calibrate``) brings its calibration.
            limits: of requests.
            calibration: a file that :meth:`leads.adaptation.Calibration.save` wrote, instead.

        Raises:
            FileError, CheckpointError: it is none of these.
            SettingsError: the calibration of another model.
        """
        path = Path(path)
        if calibration is None and (path / CALIBRATION).exists():
            calibration = path / CALIBRATION
        scale = None if calibration is None else Calibration.load(calibration)
        if path.is_dir():
            return cls(Run(path).model(), limits, scale)
        try:
            return cls(load_model(path), limits, scale)
        except CheckpointError as error:
            if "holds a adapted model" not in str(error):
                raise
        return cls(Adapted.load(path), limits, scale)

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
            "calibrated": self.calibration is not None,
        }

    def adapt(self, states: Any, times: Any, deadline: Deadline | None = None, **settings: Any) -> dict[str, Any]:
        """Adapt to observations ``(E, N, T, C, *X)``, ``None`` where not observed, at times ``(T,)``.

        Raises:
            BusyError: the deadline passed.
            LeadsError: observations that do not fit, are too large, or whose rollout diverges.
        """
        x = tensor("states", states, 3 + len(self._shape), self.limits.values, missing=True)
        t = tensor("times", times, 1, self.limits.frames)
        self._bound(x.shape[0], x.shape[1], x.shape[2])
        seen = torch.isfinite(x)
        mask = None if bool(seen.all()) else seen
        if (
            mask is not None
            and settings.get("initial") != "estimated"
            and not bool(seen[:, :, : self.model.history].all())
        ):
            raise SettingsError(
                'The first frame must be observed whole: it is where the forecast starts. "initial": "estimated" finds it.'
            )
        model = self.model if deadline is None else deadline.watch(self.model)
        with warnings.catch_warnings():  # what they say is in the answer
            warnings.simplefilter("ignore")
            adapted = replace(adapt(model, Trajectories(x, t, mask=mask), **settings), model=self.model, support=None)
        if self.calibration is not None:
            adapted = adapted.calibrated(self.calibration)
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
            "restarted": info.get("restarted", [None] * e),
            "initial": None if adapted.initial is None else nested(adapted.initial),
            "calibrated": self.calibration is not None,
            "warnings": _warnings(adapted, seen),
        }

    def forecast(
        self,
        x0: Any,
        times: Any,
        id: str | None = None,
        contexts: Any = None,
        deviations: bool = False,
        level: float | None = None,
        deadline: Deadline | None = None,
    ) -> dict[str, Any]:
        """Forecast from ``x0`` ``(E, N, C, *X)`` (``(E, N, history, C, *X)`` where the model sees past frames), with the
        contexts of ``id`` or with given ones.

        With a calibration, and contexts that have a covariance, ``bands`` of probability ``level`` come along, by default
        :data:`LEVEL` where the calibration's number of environments allows it. ``calibrated`` says whether they do, and
        ``notes`` why not, or what to know.

        Raises:
            BusyError: the deadline passed.
            LeadsError: as :meth:`adapt`; an id that is not known, a level that cannot be.
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
        if deadline is not None:
            adapted = replace(adapted, model=deadline.watch(self.model))
        forecast = adapted.forecast(x, t)
        result: dict[str, Any] = {"states": nested(forecast), "finite": bool(torch.isfinite(forecast).all())}
        if deviations:
            result["standard_deviations"] = nested(adapted.ensemble(x, t, n=DRAWS).std(0))
        return result | self._bands(adapted, x, t, deviations, level)

    def _bands(self, adapted: Adapted, x: Tensor, t: Tensor, deviations: bool, level: float | None) -> dict[str, Any]:
        """``calibrated``, ``notes`` and, where there is a calibration, ``bands``."""
        why = UNCALIBRATED if deviations else NO_BANDS
        if self.calibration is None or adapted.covariance is None:
            if level is not None:
                what = "no calibration" if self.calibration is None else "contexts that were given, without covariance"
                raise SettingsError(f"Bands of level {level:g} cannot be made: {what}. {NO_BANDS}")
            return {"calibrated": False, "notes": [why]}
        if level is None and self.calibration.environments < environments_needed(LEVEL):
            few = f"The calibration has too few environments for bands of level {LEVEL:g}: ask for a lower level."
            return {"calibrated": False, "notes": [few]}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            bands = adapted.bands(x, t, level or LEVEL, calibration=self.calibration)
        notes = [str(w.message) for w in said if issubclass(w.category, LimitsWarning)]
        found = {"level": level or LEVEL, "lower": nested(bands.lower), "upper": nested(bands.upper)}
        return {"calibrated": True, "bands": found, "notes": [SPREAD, *notes] if deviations else notes}

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


def _warnings(adapted: Adapted, seen: Tensor) -> list[str]:
    found = adapted.warnings()
    if size(adapted.contexts) and adapted.covariance is not None:
        d, counts = flatten(adapted.contexts).shape[1], seen[:, :, 1:].flatten(1).sum(1)
        few = [e for e, n in enumerate(counts.tolist()) if n <= d]
        found += [f"Environment {e} has no more observations than its context has values ({d})." for e in few]
    return found
