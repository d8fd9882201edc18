"""What a comparison of ocean forecasts found: truth, forecasts, scores, drifters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from leads.errors import SettingsError, ShapeError
from leads.evaluation.tables import Table
from leads.ocean.maps import fields
from leads.ocean.maps.chart import Chart
from leads.ocean.maps.colours import Kind
from leads.ocean.maps.currents import Style
from leads.ocean.scores import (
    Box,
    DrifterScores,
    LeadScores,
    Sphere,
    Waters,
    drifter_scores,
    lead_scores,
)

#: Velocity of a field ``(..., Y, X)`` of environment number e: eastward and northward, m/s.
Velocity = Callable[[Tensor, int], tuple[Tensor, Tensor]]
#: Drifters along each side of the chart.
DRIFTERS = 6
#: Longest step of their paths, s; at 0.5 m/s half a cell of 10 km.
STEP = 10800.0


@dataclass(frozen=True)
class OceanResults:
    """Forecasts of one field in several environments, by several methods.

    Attributes:
        truth: ``(E, N, T, Y, X)``; NaN on land.
        forecasts: by name, ``(E, N, T, Y, X)`` or with seeds in front ``(S, E, N, T, Y, X)``. The first is the one whose
            maps are drawn.
        leads: s, increasing, ``(T,)``.
        charts: where the environments lie: one for all, or one for each.
        quantity, unit: of the field.
        kind: chooses the colours.
        deviation: standard deviation of the first forecast, ``(E, N, T, Y, X)``, where it has one.
        velocity: from fields and the number of their environment to geostrophic currents
            (:func:`leads.ocean.scores.periodic_currents` in a box); arrows and drifters need it.
        climatology: for the anomaly correlation, broadcasting against ``truth``.
        environments: their names.
        style: of the currents.

    Raises:
        ShapeError, SettingsError: at construction, for axes that do not fit or no forecasts.
    """

    truth: Tensor
    forecasts: Mapping[str, Tensor]
    leads: Tensor
    charts: Chart | tuple[Chart, ...]
    quantity: str = "sea-surface height"
    unit: str = "m"
    kind: Kind = "height"
    deviation: Tensor | None = None
    velocity: Velocity | None = None
    climatology: Tensor | float = 0.0
    environments: tuple[str, ...] = field(default=())
    style: Style = "arrows"

    def __post_init__(self) -> None:
        if self.truth.ndim != 5 or len(self.leads) != self.truth.shape[2]:
            raise ShapeError(
                f"The truth needs shape (E, N, T, Y, X) with T = {len(self.leads)}, got {tuple(self.truth.shape)}."
            )
        if not self.forecasts:
            raise SettingsError("Results need at least one forecast.")
        for name, x in self.forecasts.items():
            if tuple(x.shape[-5:]) != tuple(self.truth.shape) or x.ndim > 6:
                raise ShapeError(
                    f"The forecast {name!r} has shape {tuple(x.shape)}, the truth {tuple(self.truth.shape)}."
                )
        if self.deviation is not None and self.deviation.shape != self.truth.shape:
            raise ShapeError(
                f"The deviation has shape {tuple(self.deviation.shape)}, the truth {tuple(self.truth.shape)}."
            )
        for e in range(len(self.truth)):
            self.chart(e).check(self.truth[e, 0, 0])

    def chart(self, environment: int) -> Chart:
        """Where an environment lies; without land of its own the points at which the truth is never known are land."""
        chart = self.charts if isinstance(self.charts, Chart) else self.charts[environment]
        if chart.land is not None or chart.shape != tuple(self.truth.shape[-2:]):
            return chart
        return replace(chart, land=~torch.isfinite(self.truth[environment]).flatten(0, 1).any(0))

    def name(self, environment: int) -> str:
        return self.environments[environment] if self.environments else f"environment {environment}"

    @property
    def first(self) -> tuple[str, Tensor]:
        """The forecast whose maps are drawn, its first seed."""
        name, x = next(iter(self.forecasts.items()))
        return name, x[0] if x.ndim == 6 else x

    def scores(self) -> dict[str, LeadScores]:
        """Of each method: ``(S, E, T)`` a score, with S = 1 where there are no seeds."""
        return {name: self._scored(x) for name, x in self.forecasts.items()}

    def table(self, scores: Mapping[str, LeadScores] | None = None, most: int = 6) -> Table:
        """Root mean square error, mean over seeds and environments ± standard deviation, at up to ``most`` leads."""
        scores = self.scores() if scores is None else scores
        at = fields.spread(len(self.leads), most)
        rows = []
        for name, s in scores.items():
            flat = s.rmse.reshape(-1, len(self.leads))
            mean, spread = flat.mean(0), flat.std(0, correction=0)
            several = len(flat) > 1
            rows.append([name, *(f"{float(mean[k]):.3g}" + f" ± {float(spread[k]):.1g}" * several for k in at)])
        return Table([f"RMSE ({self.unit})", *(fields.days(self.leads[k]) for k in at)], rows)

    def _scored(self, x: Tensor) -> LeadScores:
        runs = [
            lead_scores(one[:, :, :, None], self.truth[:, :, :, None], climatology=self._climate()) for one in _seeds(x)
        ]
        stacked = {
            k: torch.stack([getattr(r, k) for r in runs]) for k in ("rmse", "score", "anomaly_correlation", "count")
        }
        return LeadScores(**stacked)

    def _climate(self) -> Tensor | float:
        c = self.climatology
        return c if isinstance(c, float | int) else c.expand(self.truth.shape)[:, :, :, None]

    def drift(self, forecast: Tensor, environment: int = 0) -> DrifterScores:
        """Drifters on a regular grid of starts at sea, in the current of ``forecast (..., T, Y, X)`` and the true one.

        Raises:
            SettingsError: no velocity was given, or a single lead time.
        """
        if self.velocity is None or len(self.leads) < 2:
            raise SettingsError(
                "Drifters need currents at several leads: give OceanResults(velocity=...) and two or more."
            )
        chart = self.chart(environment)
        box = Box(self.metres(environment), chart.periodic)
        waters: Waters = Sphere(chart.y, chart.x) if chart.kind == "geographic" else box
        u, v = self.flow(self.truth[environment, 0], environment)
        start = self._starts(chart, waters, torch.stack([u[0], v[0]], -1))
        # Four positions a day: a drifter in an eddy turns in a few days.
        first, last = float(self.leads[0]), float(self.leads[-1])
        count = max(1 + round(4 * (last - first) / fields.DAY), len(self.leads))
        at = torch.linspace(first, last, count, dtype=torch.float64)
        own = u.expand(forecast.shape), v.expand(forecast.shape)
        return drifter_scores(self.flow(forecast, environment), own, self.leads, start, waters, at=at, step=STEP)

    def flow(self, x: Tensor, environment: int) -> tuple[Tensor, Tensor]:
        """Currents of fields ``(..., Y, X)``, NaN on land: a forecast may have heights there.

        Raises:
            SettingsError: no velocity was given.
        """
        land = self.chart(environment).land
        if self.velocity is None or land is None:
            raise SettingsError("Currents need a velocity: give OceanResults(velocity=...).")
        u, v = (torch.where(land.to(part.device), torch.nan, part) for part in self.velocity(x, environment))
        return u, v

    def metres(self, environment: int) -> tuple[float, float]:
        """Spacing of the environment's points along y and x, m."""
        chart = self.chart(environment)
        dy, dx = (float((c[-1] - c[0]) / (len(c) - 1)) for c in (chart.y, chart.x))
        unit = 1e3 if chart.kind == "box" else 6.371e6 * torch.pi / 180
        return dy * unit, dx * unit / chart.aspect

    def _starts(self, chart: Chart, waters: Waters, flow: Tensor) -> Tensor:
        """``(P, 2)``, all of them where the grid has no sea among its neighbours."""
        share = torch.linspace(0.1, 0.9, DRIFTERS, dtype=torch.float64)
        sides = [share * (c[-1] - c[0]) + c[0] for c in (chart.x, chart.y)]
        start = torch.cartesian_prod(*sides) * (1e3 if chart.kind == "box" else 1.0)
        afloat = torch.isfinite(waters.rates(flow[None].cpu().double(), start[None])[0, :, 0])
        return (start[afloat] if bool(afloat.any()) else start).to(flow)


def _seeds(x: Tensor) -> list[Tensor]:
    return list(x) if x.ndim == 6 else [x]
