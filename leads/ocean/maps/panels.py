"""The figures of a report: curves, maps, uncertainty, spectra, drifters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leads.errors import DataError, SettingsError, ShapeError
from leads.ocean.maps import curves, fields
from leads.ocean.maps.results import OceanResults
from leads.ocean.scores import LeadScores, Spectrum, lead_coverage, spectral_score, zonal_spectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPREAD = "Mean over environments and seeds; the band is one standard deviation."
#: Central bands of a Gaussian that are scored, and their half-widths in standard deviations.
BANDS = {0.5: 0.674490, 0.9: 1.644854}
#: Environments over which drifters are averaged.
MOST = 4


@dataclass(frozen=True)
class Panel:
    """One figure of the report, its title and caption, and whether it needs the whole width."""

    title: str
    caption: str
    figure: Figure
    wide: bool = False


def panels(results: OceanResults, environments: int = 2) -> list[Panel]:
    """All figures that the results allow, maps of up to so many environments.

    Spectra need a row without land, those in time also uniform leads, five at least; coverage and uncertainty a deviation, drifters a velocity and two lead times.
    """
    made = _curves(results, results.scores())
    if results.deviation is not None:
        made.append(_coverage(results))
    drift = results.velocity is not None and len(results.leads) > 1
    if drift:
        made.append(_distance(results))
    for e in fields.spread(len(results.truth), environments):
        made.append(_maps(results, e))
        if results.deviation is not None:
            made.append(_uncertainty(results, results.deviation, e))
    made += [*_spectra(results), *_space_time(results)]
    return [*made, _drifters(results, 0)] if drift else made


def _curves(results: OceanResults, scores: Mapping[str, LeadScores]) -> list[Panel]:
    parts = (
        ("Error against lead time", "rmse", f"RMSE ({results.unit})", True, "Root mean square error"),
        ("Anomaly correlation", "anomaly_correlation", "anomaly correlation", False, "Anomaly correlation"),
    )
    return [
        Panel(
            title,
            f"{what} of {results.quantity} forecasts. {SPREAD}",
            curves.lead_curves({n: getattr(s, key) for n, s in scores.items()}, results.leads, label, zero=zero),
        )
        for title, key, label, zero, what in parts
    ]


def _coverage(results: OceanResults) -> Panel:
    name, x = results.first
    assert results.deviation is not None
    wide = lambda y: y[:, :, :, None]  # noqa: E731
    found = {
        f"{level:.0%} band": lead_coverage(
            wide(x - k * results.deviation), wide(x + k * results.deviation), wide(results.truth)
        )
        for level, k in BANDS.items()
    }
    drawn = curves.lead_curves(found, results.leads, "share of points inside", marks=tuple(BANDS))
    text = f"Share of points at which the truth lies in the Gaussian bands of the forecast ({name}); dashed: what they promise."
    return Panel("Coverage of the bands", f"{text} {SPREAD}", drawn)


def _distance(results: OceanResults) -> Panel:
    """Drifters' distance by method, first seeds."""
    several = list(fields.spread(len(results.truth), MOST))
    stacked = torch.stack([x[0] if x.ndim == 6 else x for x in results.forecasts.values()])
    scores = [results.drift(stacked[:, e, 0], e) for e in several]
    apart = torch.stack([s.mean_separation for s in scores], 1) / 1e3
    drawn = curves.lead_curves(
        dict(zip(results.forecasts, apart, strict=True)), scores[0].times, "distance of drifters (km)", zero=True
    )
    text = "Mean distance of surface drifters set out together in the true and in each forecast geostrophic current."
    return Panel("Drifters by method", f"{text} {SPREAD}", drawn)


def _maps(results: OceanResults, e: int) -> Panel:
    name, x = results.first
    truth, made = results.truth[e, 0], x[e, 0]
    currents = None if results.velocity is None else (results.flow(truth, e), results.flow(made, e))
    drawn = fields.comparison(
        truth, made, results.chart(e), results.leads,
        kind=results.kind, label=f"{results.quantity} ({results.unit})", currents=currents, style=results.style,
    )  # fmt: skip
    arrows = f" {results.style.capitalize()}: geostrophic currents." if currents is not None else ""
    text = f"Truth, forecast ({name}) and their difference; the colours of truth and forecast are the same.{arrows}"
    return Panel(f"Maps: {results.name(e)}", text, drawn, wide=True)


def _uncertainty(results: OceanResults, deviation: Tensor, e: int) -> Panel:
    name, x = results.first
    drawn = fields.uncertainty(
        results.truth[e, 0, -1], x[e, 0, -1], deviation[e, 0, -1], results.chart(e),
        kind=results.kind, label=f"{results.quantity} ({results.unit})",
    )  # fmt: skip
    when = fields.days(results.leads[-1])
    text = f"Uncertainty of the forecast ({name}) at {when}: error, standard deviation and their ratio."
    return Panel(f"Uncertainty: {results.name(e)}", text, drawn, wide=True)


def _spectra(results: OceanResults) -> list[Panel]:
    """Along x at the last lead, averaged over environments and seeds; none where land leaves no row."""
    dx = results.metres(0)[1] / 1e3
    last = results.truth[:, :, -1]
    try:
        densities, errors = {"truth": _mean(zonal_spectrum(last, dx))}, {}
        for name, x in results.forecasts.items():
            end = x.select(-3, len(results.leads) - 1)
            densities[name] = _mean(zonal_spectrum(end, dx))
            errors[name] = _mean(zonal_spectrum(end - last, dx))
    except (DataError, ShapeError):
        return []
    text = (
        f"Spectra along x of {results.quantity} at {fields.days(results.leads[-1])}, and the share of the truth's power that "
        "the forecast has right; dotted: effective resolution, where that falls to one half."
    )
    drawn = curves.spectra(densities, errors=errors, quantity=f"{results.unit}² km")
    return [Panel("Spectra", text, drawn, wide=True)]


def _space_time(results: OceanResults) -> list[Panel]:
    """Over all leads, rows of all environments together."""
    name, x = results.first
    rows = lambda h: h.movedim(2, 0).flatten(1, 3)  # noqa: E731
    try:
        clock, dx = results.leads / fields.DAY, results.metres(0)[1] / 1e3
        score = spectral_score(rows(x), rows(results.truth), clock, dx, path="longest")
    except (DataError, ShapeError, SettingsError):
        return []
    text = (
        f"Share of the truth's power that the forecast ({name}) has right, by wavelength along x and period over the lead "
        "times; dashed: smallest wavelength and period on the longest contour of one half."
    )
    return [Panel("Resolved wavelengths and periods", text, curves.space_time_resolution(score, length="km"))]


def _drifters(results: OceanResults, e: int) -> Panel:
    name, x = results.first
    u, v = results.flow(results.truth[e, 0, :1], e)
    drawn = curves.drifters(results.drift(x[e, 0], e), results.chart(e), (u[0], v[0]))
    text = f"Drifters set out together in the true and the forecast ({name}) geostrophic current, and their distance."
    return Panel(f"Drifters: {results.name(e)}", text, drawn, wide=True)


def _mean(s: Spectrum) -> Spectrum:
    return Spectrum(s.wavenumber, s.density.reshape(-1, s.density.shape[-1]).mean(0))
