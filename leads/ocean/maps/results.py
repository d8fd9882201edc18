"""What a comparison of ocean forecasts found, and its figures and table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leads.errors import DataError, SettingsError, ShapeError
from leads.evaluation.tables import Table
from leads.ocean.maps import curves, fields
from leads.ocean.maps.chart import Chart
from leads.ocean.maps.colours import Kind
from leads.ocean.maps.currents import Style
from leads.ocean.scores import (
    Box,
    DrifterScores,
    LeadScores,
    Spectrum,
    Sphere,
    Waters,
    drifter_scores,
    lead_scores,
    zonal_spectrum,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Velocity of a field ``(..., Y, X)`` of environment number e: eastward and northward, m/s.
Velocity = Callable[[Tensor, int], tuple[Tensor, Tensor]]
#: Drifters along each side of the chart.
DRIFTERS = 6


@dataclass(frozen=True)
class Panel:
    """One figure of the report, its title and caption, and whether it needs the whole width."""

    title: str
    caption: str
    figure: Figure
    wide: bool = False


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

    def panels(self, most: int = 2) -> list[Panel]:
        """The figures: curves, maps of up to ``most`` environments, uncertainty, spectra, drifters."""
        scores = self.scores()
        made = self._curves(scores)
        for e in fields.spread(len(self.truth), most):
            made.append(self._maps(e))
            if self.deviation is not None:
                made.append(self._uncertainty(e))
        made += self._spectra()
        if self.velocity is not None:
            made += self._drifters(0)
        return made

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

    def _curves(self, scores: Mapping[str, LeadScores]) -> list[Panel]:
        spread = "Mean over environments and seeds; the band is one standard deviation."
        parts = (
            ("Error against lead time", "rmse", f"RMSE ({self.unit})", True, "Root mean square error"),
            ("Anomaly correlation", "anomaly_correlation", "anomaly correlation", False, "Anomaly correlation"),
        )
        return [
            Panel(
                title,
                f"{what} of {self.quantity} forecasts in environments never seen. {spread}",
                curves.lead_curves({n: getattr(s, key) for n, s in scores.items()}, self.leads, label, zero=zero),
            )
            for title, key, label, zero, what in parts
        ]

    def _maps(self, e: int) -> Panel:
        name, x = self.first
        truth, made = self.truth[e, 0], x[e, 0]
        currents = None if self.velocity is None else (self._flow(truth, e), self._flow(made, e))
        drawn = fields.comparison(
            truth, made, self.chart(e), self.leads,
            kind=self.kind, label=f"{self.quantity} ({self.unit})", currents=currents, style=self.style,
        )  # fmt: skip
        arrows = " Arrows: geostrophic currents." if currents is not None else ""
        text = f"Truth, forecast ({name}) and their difference; the colours of truth and forecast are the same.{arrows}"
        return Panel(f"Maps: {self.name(e)}", text, drawn, wide=True)

    def _uncertainty(self, e: int) -> Panel:
        assert self.deviation is not None
        name, x = self.first
        drawn = fields.uncertainty(
            self.truth[e, 0, -1], x[e, 0, -1], self.deviation[e, 0, -1], self.chart(e),
            kind=self.kind, label=f"{self.quantity} ({self.unit})",
        )  # fmt: skip
        text = f"Uncertainty of the forecast ({name}) at {fields.days(self.leads[-1])}: error, standard deviation and their ratio."
        return Panel(f"Uncertainty: {self.name(e)}", text, drawn, wide=True)

    def _spectra(self) -> list[Panel]:
        """Along x at the last lead, averaged over environments; none where land leaves no row."""
        dx = self._metres(0)[1] / 1e3
        last = self.truth[:, :, -1]
        unit = f"{self.unit}² km"
        try:
            densities, errors = {"truth": _mean(zonal_spectrum(last, dx))}, {}
            for name, x in self.forecasts.items():
                end = x[:, :, :, -1] if x.ndim == 6 else x[:, :, -1]
                densities[name] = _mean(zonal_spectrum(end, dx))
                errors[name] = _mean(zonal_spectrum(end - last, dx))
        except (DataError, ShapeError):
            return []
        text = (
            f"Spectra along x of {self.quantity} at {fields.days(self.leads[-1])}, and the share of the truth's power that the "
            "forecast has right; dotted: effective resolution, where that falls to one half."
        )
        return [Panel("Spectra", text, curves.spectra(densities, errors=errors, quantity=unit), wide=True)]

    def _drifters(self, e: int) -> list[Panel]:
        name, x = self.first
        if len(self.leads) < 2:
            return []
        scores = self.drift(x[e, 0], e)
        drawn = curves.drifters(scores, self.chart(e), _at(self._flow(self.truth[e, 0, :1], e), 0))
        text = f"Surface drifters set out together in the true and the forecast ({name}) geostrophic current, and their distance."
        return [Panel(f"Drifters: {self.name(e)}", text, drawn, wide=True)]

    def drift(self, forecast: Tensor, environment: int = 0) -> DrifterScores:
        """Drifters on a regular grid of starts, in the current of ``forecast (T, Y, X)`` and the true one.

        Raises:
            SettingsError: no velocity was given.
        """
        if self.velocity is None:
            raise SettingsError("Drifters need a velocity: give OceanResults(velocity=...).")
        chart = self.chart(environment)
        sides = [
            torch.linspace(0.1, 0.9, DRIFTERS, dtype=torch.float64) * (c[-1] - c[0]) + c[0] for c in (chart.x, chart.y)
        ]
        scale = 1e3 if chart.kind == "box" else 1.0
        start = torch.cartesian_prod(*sides) * scale
        waters: Waters = Sphere(chart.y, chart.x) if chart.kind == "geographic" else Box(self._metres(environment))
        own = self._flow(self.truth[environment, 0], environment)
        afloat = torch.isfinite(
            waters.rates(torch.stack([own[0][0], own[1][0]], -1)[None].cpu().double(), start[None])[0, :, 0]
        )
        start = start[afloat] if bool(afloat.any()) else start
        # Four positions a day: a drifter in an eddy turns in a few days.
        count = 1 + round(4 * float(self.leads[-1] - self.leads[0]) / fields.DAY)
        at = torch.linspace(
            float(self.leads[0]), float(self.leads[-1]), max(count, len(self.leads)), dtype=torch.float64
        )
        flow = self._flow(forecast, environment)
        return drifter_scores(flow, own, self.leads, start.to(own[0].device), waters, at=at)

    def _flow(self, x: Tensor, e: int) -> tuple[Tensor, Tensor]:
        """Currents of fields of environment e, NaN on land: a forecast may have heights there."""
        assert self.velocity is not None
        land = self.chart(e).land
        assert land is not None
        u, v = (torch.where(land.to(part.device), torch.nan, part) for part in self.velocity(x, e))
        return u, v

    def _metres(self, e: int) -> tuple[float, float]:
        """Spacing along y and x, m."""
        chart = self.chart(e)
        dy, dx = (float((c[-1] - c[0]) / (len(c) - 1)) for c in (chart.y, chart.x))
        unit = 1e3 if chart.kind == "box" else 6.371e6 * torch.pi / 180
        return dy * unit, dx * unit / chart.aspect


def _seeds(x: Tensor) -> list[Tensor]:
    return list(x) if x.ndim == 6 else [x]


def _mean(s: Spectrum) -> Spectrum:
    return Spectrum(s.wavenumber, s.density.reshape(-1, s.density.shape[-1]).mean(0))


def _at(flow: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, Tensor]:
    return flow[0][k], flow[1][k]
