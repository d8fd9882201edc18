"""Curves: scores against lead time, spectra with the effective resolution marked, paths of drifters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leads.errors import SettingsError, ShapeError
from leads.evaluation.figures import COLOURS, _grid
from leads.ocean.maps.chart import Chart
from leads.ocean.maps.fields import DAY, Currents, limits
from leads.ocean.scores import DrifterScores, SpectralScore, Spectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))


def lead_curves(
    scores: Mapping[str, Tensor], leads: Tensor, label: str, *, zero: bool = False, marks: tuple[float, ...] = ()
) -> Figure:
    """A score against lead time, a line a method: its mean, with one standard deviation over seeds and environments.

    Args:
        scores: ``(S, E, T)`` (seeds, environments) or ``(E, T)`` for each name; values that are not finite are left out.
        leads: s, ``(T,)``.
        label: of the score, with its unit.
        zero: start the axis at zero.
        marks: values at which a dashed line is drawn across.

    Raises:
        SettingsError: no scores.
        ShapeError: scores of other leads.
    """
    from matplotlib.ticker import MaxNLocator

    if not scores:
        raise SettingsError("There are no scores to draw.")
    figure, axes = _grid(1, 1, width=6.4, height=3.6)
    ax, x = axes[0][0], leads.cpu() / DAY
    for i, (name, values) in enumerate(scores.items()):
        if values.ndim not in (2, 3) or values.shape[-1] != len(leads):
            raise ShapeError(
                f"Scores of {name!r} need shape (S, E, T) or (E, T) with T = {len(leads)}, got {tuple(values.shape)}."
            )
        flat = values.detach().cpu().double().reshape(-1, len(leads))
        flat = torch.where(torch.isfinite(flat), flat, torch.nan)
        mean = flat.nanmean(0)
        deviation = (flat - mean).square().nanmean(0).sqrt()
        colour, dash = COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)]
        ax.plot(x, mean, color=colour, ls=dash, lw=1.9, label=name)
        if len(flat) > 1:
            ax.fill_between(x, mean - deviation, mean + deviation, color=colour, alpha=0.13, lw=0)
    ax.set(xlabel="lead time (days)", ylabel=label, xlim=(float(x[0]), float(x[-1])) if len(x) > 1 else None)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    for mark in marks:
        ax.axhline(mark, color="#707070", lw=0.9, ls="--")
    if zero:
        ax.set_ylim(bottom=0)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def spectra(
    densities: Mapping[str, Spectrum],
    *,
    errors: Mapping[str, Spectrum] | None = None,
    truth: str = "truth",
    unit: str = "km",
    quantity: str = "m² km",
    level: float = 0.5,
) -> Figure:
    """Power spectra against wavelength; where errors are given also ``1 - PSD(error) / PSD(truth)``, and where it falls to
    ``level``: the effective resolution.

    Args:
        densities: of the truth and of methods, each ``(K,)``.
        errors: of the methods' errors, on the same wavenumbers as the truth.
        truth: its name in ``densities``.
        unit: of length; ``quantity``: of the density.

    Raises:
        SettingsError: no truth among the densities.
        ShapeError: errors on other wavenumbers.
    """
    from leads.ocean.scores import first_crossing

    if truth not in densities:
        raise SettingsError(f"The densities must hold {truth!r}; they hold {', '.join(densities)}.")
    errors = errors or {}
    figure, axes = _grid(1, 2 if errors else 1, width=4.4 if errors else 6.0, height=4.4)
    left, right = axes[0][0], axes[0][-1]
    methods = list(dict.fromkeys(n for n in (*densities, *errors) if n != truth))
    look = {n: {"color": COLOURS[i % len(COLOURS)], "ls": DASHES[i % len(DASHES)]} for i, n in enumerate(methods)}
    look[truth] = {"color": "#202020", "ls": "-"}
    reference = densities[truth]
    labels = {n: n for n in (truth, *methods)}
    for name, s in errors.items():
        if s.density.shape != reference.density.shape:
            raise ShapeError(
                f"The error of {name!r} has {tuple(s.density.shape)} densities, the truth {tuple(reference.density.shape)}."
            )
        wavelength = 1 / s.wavenumber.cpu()
        score = (1 - s.density / reference.density).detach().cpu()
        found = float(first_crossing(wavelength, score, level))
        right.semilogx(wavelength, score, lw=1.8, **look[name])
        labels[name] = f"{name} ({found:.3g} {unit})" if math.isfinite(found) else f"{name} (none)"
        if math.isfinite(found):
            for ax in (left, right):
                ax.axvline(found, color=look[name]["color"], lw=1, ls=":")
            right.plot([found], [level], "o", ms=5, color=look[name]["color"])
    for name, s in densities.items():
        left.loglog(
            1 / s.wavenumber.cpu(),
            s.density.detach().cpu(),
            lw=2.2 if name == truth else 1.6,
            label=labels[name],
            **look[name],
        )
    # What lies further below the truth is nobody's resolved scale.
    top = float(reference.density.max())
    left.set(xlabel=f"wavelength ({unit})", ylabel=f"power spectral density ({quantity})", ylim=(1e-7 * top, 4 * top))
    left.invert_xaxis()
    if errors:
        right.axhline(level, color="#707070", lw=0.8, ls="--")
        right.set(xlabel=f"wavelength ({unit})", ylabel="1 - PSD(error) / PSD(truth)", ylim=(-0.6, 1.03))
        right.invert_xaxis()
    heading = "effective resolution in brackets" if errors else None
    figure.legend(
        *left.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=9,
        title=heading,
        title_fontsize=9,
    )
    for ax in axes[0]:
        _plain_ticks(ax)
    return figure


def space_time_resolution(
    score: SpectralScore, *, length: str = "degrees", time: str = "days", title: str = ""
) -> Figure:
    """The score over wavelength and period, its contour of 0.5 and the effective resolutions; one map ``(F, K)``.

    Raises:
        ShapeError: a batch of scores: take one.
    """
    if score.score.ndim != 2:
        raise ShapeError(
            f"This figure draws one score (F, K), got {tuple(score.score.shape)}. Select one of the batch."
        )
    figure, axes = _grid(1, 1, width=5.8, height=4.3)
    ax = axes[0][0]
    x, y, z = score.wavelength.cpu(), score.period.cpu(), score.score.detach().cpu()
    image = ax.contourf(x, y, z.clamp(0, 1), levels=[i / 10 for i in range(11)], cmap="RdYlGn")
    ax.contour(x, y, z, levels=[0.5], colors="#202020", linewidths=1.6)
    for value, line, unit in ((float(score.lambda_x), ax.axvline, length), (float(score.lambda_t), ax.axhline, time)):
        if math.isfinite(value):
            line(value, color="#1b4f8a", ls="--", lw=1.4, label=f"{value:.3g} {unit}")
    ax.set(xlabel=f"wavelength ({length})", ylabel=f"period ({time})", xscale="log", yscale="log")
    ax.grid(False)
    ax.invert_xaxis()
    ax.invert_yaxis()
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=9, title="effective resolution", title_fontsize=9, loc="lower left", framealpha=0.9)
    _plain_ticks(ax, both=True)
    bar = figure.colorbar(image, ax=ax, pad=0.02)
    bar.set_label("1 - PSD(error) / PSD(truth)", fontsize=9)
    ax.set_title(title, fontsize=10)
    return figure


def drifters(scores: DrifterScores, chart: Chart, currents: Currents | None = None, most: int = 30) -> Figure:
    """Paths of drifters in the true and the forecast current, and their distance against time.

    Args:
        scores: of one environment: positions ``(P, T, 2)``; box positions in m, drawn in km and wrapped into the box.
        chart: where they lie.
        currents: the true one, whose speed is drawn underneath, ``(Y, X)``.
        most: drifters drawn.

    Raises:
        ShapeError: positions of several environments.
    """
    if scores.truth.ndim != 3:
        raise ShapeError(
            f"This figure draws drifters (P, T, 2), got {tuple(scores.truth.shape)}. Select one environment."
        )
    figure, axes = _grid(1, 2, width=4.4, height=4.3)
    ax, right = axes[0]
    if currents is not None:
        speed = torch.hypot(*currents)
        image = chart.draw(ax, speed, **{**limits("speed", speed), "vmin": 0.0}, alpha=0.75)
        figure.colorbar(image, ax=ax, shrink=0.7, pad=0.02, location="bottom").set_label("speed (m/s)", fontsize=9)
    for name, paths, colour in (("truth", scores.truth, "#202020"), ("forecast", scores.forecast, COLOURS[1])):
        for i, path in enumerate(paths[:most].detach().cpu()):
            ax.plot(*_on_page(path, chart), color=colour, lw=1.3, label=None if i else name)
    ax.plot(*_on_page(scores.truth[:most, 0].detach().cpu(), chart), "o", ms=3.2, color="#1b6ca8", label="start")
    ax.set(xlim=(float(chart.x[0]), float(chart.x[-1])), ylim=(float(chart.y[0]), float(chart.y[-1])))
    ax.legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    time = (scores.times - scores.times[0]).cpu() / DAY
    for one in scores.separation.detach().cpu():
        right.plot(time, one / 1e3, color="#9aa7b4", lw=0.7)
    right.plot(time, scores.mean_separation.detach().cpu() / 1e3, color=COLOURS[1], lw=2.2, label="mean")
    right.set(xlabel="time since they set out (days)", ylabel="distance (km)")
    right.set_ylim(bottom=0)
    right.set_title(f"forecast and true drifter: skill score {float(scores.skill.nanmean()):.2f}", fontsize=9.5)
    right.legend(frameon=False, fontsize=9)
    return figure


def _on_page(path: Tensor, chart: Chart) -> tuple[Tensor, Tensor]:
    """Positions ``(T, 2)`` in the chart's units; a path that leaves a box on one side comes back on the other."""
    x, y = path.unbind(-1)
    if chart.kind != "box":
        return x, y
    if not chart.periodic:
        return x / 1e3, y / 1e3
    sides = [float(c[-1] - c[0] + c[1] - c[0]) for c in (chart.x, chart.y)]
    rounds = [torch.floor(v / 1e3 / side) for v, side in zip((x, y), sides, strict=True)]
    wrapped = [v / 1e3 - r * side for v, r, side in zip((x, y), rounds, sides, strict=True)]
    if path.ndim == 2 and len(path) > 1:
        jump = torch.zeros(len(path), dtype=torch.bool)
        for r in rounds:
            jump[1:] |= r.diff() != 0
        wrapped = [torch.where(jump, torch.nan, v) for v in wrapped]
    return wrapped[0], wrapped[1]


def _plain_ticks(ax: Any, both: bool = False) -> None:
    """Whole numbers instead of powers of ten along wavelengths."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    for axis in (ax.xaxis, ax.yaxis) if both else (ax.xaxis,):
        axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
        formatter = ScalarFormatter()
        formatter.set_scientific(False)
        axis.set_major_formatter(formatter)
        axis.set_minor_formatter(NullFormatter())
