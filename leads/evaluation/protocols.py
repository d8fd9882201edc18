"""Forecasts scored against test trajectories, per environment, within and beyond the training horizon."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from leads.adaptation import Adapted
from leads.errors import DataError, SettingsError, ShapeError
from leads.evaluation.metrics import metrics
from leads.trajectories import Trajectories


@dataclass(frozen=True)
class Evaluation:
    """Errors of one forecaster on one test set.

    Attributes:
        scores: ``scores[span][metric]`` is the mean over environments; span is ``"all"``, and where the test runs past
            the training horizon also ``"within"`` and ``"beyond"``. A forecast that left the finite numbers scores
            infinity.
        per_environment: the same, one value per environment.
        error_in_time: mean square error at every test time, averaged over environments.
        times: those times.
        parameters: true parameters per environment, where known.
        horizon: last training time.
    """

    scores: dict[str, dict[str, float]]
    per_environment: dict[str, dict[str, list[float]]]
    error_in_time: list[float]
    times: list[float]
    parameters: list[list[float]] | None
    horizon: float | None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Evaluation:
        """The inverse of :meth:`to_dict`."""
        return cls(**values)

    def __str__(self) -> str:
        from leads.evaluation.tables import Table

        names = list(next(iter(self.scores.values())))
        rows = [[span, *(f"{values[n]:.3e}" for n in names)] for span, values in self.scores.items()]
        return Table(["span", *names], rows).text()


def evaluate(
    adapted: Adapted, test: Trajectories, horizon: float | None = None, names: Sequence[str] | None = None
) -> Evaluation:
    """Forecast every test trajectory from its first frame, or the first ones where the model sees past frames; score it.

    All frames from the last given one on count, that one included, as in the published averages over all entries.

    Args:
        adapted: what :func:`leads.adapt` or :func:`leads.trained` returned.
        test: trajectories of the same environments, in the same order.
        horizon: last time of the training data; where the test runs past it, the spans are scored apart.
        names: metrics to compute (all registered ones by default).

    Raises:
        ShapeError, DataError: test data of other environments.
    """
    if not isinstance(adapted, Adapted):
        raise SettingsError(
            f"evaluate needs a model with its contexts, got {type(adapted).__name__}. leads.trained(model, data=train) "
            "gives those of the seen environments, leads.adapt(model, support) those of new ones."
        )
    names = list(names) if names is not None else list(metrics)
    if not names:
        raise SettingsError(f"Choose at least one metric of {', '.join(metrics)}.")
    environments = next((v.shape[0] for v in adapted.contexts.values()), test.n_environments)
    if environments != test.n_environments:
        raise ShapeError(
            f"The model is adapted to {environments} environments, the test data have {test.n_environments}."
        )
    known, given = adapted.parameters, test.parameters
    if known is not None and given is not None and not torch.allclose(known.double(), given.double(), atol=1e-6):
        raise DataError(
            "The test environments have other parameters than those the model was adapted to. Match their order."
        )
    x0, test = test.first(adapted.model.history), test.select(frames=slice(adapted.model.history - 1, None))
    forecast = adapted.forecast(x0, test.times).to(test.states)
    spans: dict[str, Tensor] = {"all": torch.ones(len(test.times), dtype=torch.bool)}
    if horizon is not None and float(test.times[-1]) > horizon + 1e-9:
        within = test.times <= horizon + 1e-9
        spans |= {"within": within, "beyond": ~within}
    per_environment = {
        span: {name: _score(name, forecast, test, frames) for name in names} for span, frames in spans.items()
    }
    square = (forecast - test.states).square()
    if test.mask is not None:
        square = torch.where(test.mask, square, torch.full_like(square, math.nan))
    in_time = square.transpose(0, 2).flatten(1).nanmean(1)
    return Evaluation(
        scores={s: {n: statistics.fmean(v) for n, v in values.items()} for s, values in per_environment.items()},
        per_environment=per_environment,
        error_in_time=[v if math.isfinite(v) else math.inf for v in in_time.tolist()],
        times=test.times.tolist(),
        parameters=None if given is None else given.tolist(),
        horizon=horizon,
    )


def _score(name: str, forecast: Tensor, test: Trajectories, frames: Tensor) -> list[float]:
    keep = frames.to(forecast.device)
    mask = None if test.mask is None else test.mask[:, :, keep]
    values = metrics[name](forecast[:, :, keep], test.states[:, :, keep], mask)
    return [v if math.isfinite(v) else math.inf for v in values.tolist()]


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over seeds."""

    mean: float
    std: float
    n: int

    def __format__(self, spec: str) -> str:
        spec = spec or ".2e"
        return f"{self.mean:{spec}} ± {self.std:{spec}}" if self.n > 1 else f"{self.mean:{spec}}"


def spread(values: Sequence[float]) -> Spread:
    """Mean and spread of one number over seeds; one seed has no spread (NaN)."""
    if not values:
        raise DataError("There are no values to average: no seed has been evaluated yet.")
    std = statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan
    return Spread(statistics.fmean(values), std, len(values))


def aggregate(evaluations: Sequence[Evaluation]) -> dict[str, dict[str, Spread]]:
    """Mean and spread over seeds of every span and metric."""
    if not evaluations:
        raise DataError("There are no evaluations to average: no seed has been evaluated yet.")
    first = evaluations[0].scores
    return {s: {n: spread([e.scores[s][n] for e in evaluations]) for n in values} for s, values in first.items()}
