"""Maps of fields: one, truth against forecast, and the forecast's uncertainty."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leads.errors import DataError, ShapeError
from leads.ocean.maps.chart import Chart
from leads.ocean.maps.colours import Kind, colour_map, is_symmetric
from leads.ocean.maps.currents import Style, draw_currents

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Currents = tuple[Tensor, Tensor]
DAY = 86400.0


def field_map(
    field: Tensor,
    chart: Chart,
    *,
    kind: Kind = "height",
    label: str = "",
    title: str = "",
    currents: Currents | None = None,
    style: Style = "arrows",
) -> Figure:
    """One field ``(Y, X)`` with land in grey, and a current over it where given.

    Args:
        field: NaN on land.
        chart: where it lies.
        kind: chooses the colours, and whether their scale is centred on zero.
        label: of the colour bar, with the unit.
        title: of the figure.
        currents: eastward and northward, m/s, ``(Y, X)``.
        style: of the currents.

    Raises:
        ShapeError: fields that do not fit the chart.
        DataError: a field without any value.
        UnknownNameError: unknown kind or style.
    """
    chart.check(field)
    figure, axes = _panels(1, 1, chart, width=5.6)
    ax = axes[0][0]
    image = chart.draw(ax, field, **limits(kind, field))
    if currents is not None:
        draw_currents(ax, chart, *currents, style=style, arrows=26)
    side = "bottom" if chart.ratio < 0.6 else "right"
    bar = figure.colorbar(image, ax=ax, shrink=0.85, pad=0.02, aspect=28, location=side)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    ax.set_title(title, fontsize=10, loc="left")
    return figure


def comparison(
    truth: Tensor,
    forecast: Tensor,
    chart: Chart,
    leads: Tensor,
    *,
    kind: Kind = "height",
    label: str = "",
    title: str = "",
    currents: tuple[Currents, Currents] | None = None,
    style: Style = "arrows",
    most: int = 4,
) -> Figure:
    """Truth, forecast and their difference at up to ``most`` lead times; truth and forecast share their colours.

    Args:
        truth, forecast: ``(T, Y, X)``.
        chart: where they lie.
        leads: s, ``(T,)``.
        kind, label, title, style: see :func:`field_map`.
        currents: of the truth and of the forecast, each (u, v) of ``(T, Y, X)``.

    Raises:
        ShapeError, DataError, UnknownNameError: see :func:`field_map`.
    """
    for x in (truth, forecast):
        chart.check(x, 3)
    if len(truth) != len(forecast) or len(leads) != len(truth):
        raise ShapeError(f"Truth, forecast and leads have {len(truth)}, {len(forecast)} and {len(leads)} times.")
    frames = spread(len(leads), most)
    figure, axes = _panels(3, len(frames), chart, width=1.95)
    shared, wrong = limits(kind, truth), limits("error", (forecast - truth)[frames])
    for j, k in enumerate(frames):
        rows = ((truth[k], shared), (forecast[k], shared), (forecast[k] - truth[k], wrong))
        images = [chart.draw(axes[i][j], x, labels=j == 0 and i == 2, **scale) for i, (x, scale) in enumerate(rows)]
        for i, flow in enumerate(currents or ()):
            draw_currents(axes[i][j], chart, flow[0][k], flow[1][k], style, key=False, arrows=14)
        axes[0][j].set_title(days(leads[k]), fontsize=10)
    for i, name in enumerate(("truth", "forecast", "error")):
        axes[i][0].set_ylabel(name, fontsize=10.5)
    if chart.kind == "box":
        axes[2][0].set_xlabel("km", fontsize=8.5)
    tall = figure.get_size_inches()[1] / 3
    for image, part in ((images[0], axes[:2]), (images[2], axes[2:])):
        bar = figure.colorbar(image, ax=[ax for row in part for ax in row], shrink=0.85, pad=0.015, aspect=24)
        # About eleven letters an inch.
        bar.set_label(fill(label, max(8, int(11 * tall * len(part)))), fontsize=9)
        bar.ax.tick_params(labelsize=8)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def uncertainty(
    truth: Tensor,
    forecast: Tensor,
    deviation: Tensor,
    chart: Chart,
    *,
    kind: Kind = "height",
    label: str = "",
    title: str = "",
) -> Figure:
    """Forecast, its error, its standard deviation and the error in standard deviations, ``(Y, X)`` each.

    With honest bars about 5 % of the last panel lies beyond two.

    Raises:
        ShapeError, DataError, UnknownNameError: see :func:`field_map`.
    """
    for x in (truth, forecast, deviation):
        chart.check(x)
    error = forecast - truth
    figure, axes = _panels(2, 2, chart, width=3.6)
    worst = limits("error", error)
    top = max(worst["vmax"], float(deviation[torch.isfinite(deviation)].max()))
    ratio = error / torch.where(deviation > 0, deviation, torch.nan)
    inside = float((ratio[torch.isfinite(ratio)].abs() <= 2).double().mean())
    sigmas = {**limits("error", torch.tensor([3.0])), "vmin": -3.0, "vmax": 3.0}
    panels: list[tuple[str, Tensor, dict[str, Any], str]] = [
        ("forecast", forecast, limits(kind, torch.stack([truth, forecast])), label),
        ("error", error, worst, label),
        (
            "standard deviation",
            deviation,
            {"cmap": colour_map("uncertainty"), "vmin": 0.0, "vmax": top},
            label,
        ),
        (f"error in deviations: {inside:.0%} within two", ratio, sigmas, ""),
    ]
    for i, (name, x, scale, unit) in enumerate(panels):
        ax = axes[i // 2][i % 2]
        image = chart.draw(ax, x, labels=i == 2, **scale)
        bar = figure.colorbar(image, ax=ax, shrink=0.85, pad=0.02)
        bar.set_label(unit, fontsize=9)
        bar.ax.tick_params(labelsize=8)
        ax.set_title(name, fontsize=10)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def limits(kind: Kind, field: Tensor) -> dict[str, Any]:
    """Colours and their ends: symmetric ones about zero where the kind has it and the field crosses zero.

    Raises:
        DataError: a field without any value.
    """
    known = field[torch.isfinite(field)]
    if not len(known):
        raise DataError("The field has no finite value, so there is nothing to draw (all land or all missing).")
    low, high = float(known.min()), float(known.max())
    if is_symmetric(kind) and (low < 0 < high or kind == "error"):
        high = max(-low, high, 1e-30)
        low = -high
    return {"cmap": colour_map(kind), "vmin": low, "vmax": high if high > low else low + 1e-30}


def spread(count: int, most: int) -> list[int]:
    """Up to ``most`` indices from first to last, evenly."""
    shown = min(most, count)
    return [round(i * (count - 1) / max(shown - 1, 1)) for i in range(shown)]


def days(lead: Tensor | float) -> str:
    value = float(lead) / DAY
    return f"day {value:.3g}"


def _panels(rows: int, columns: int, chart: Chart, width: float) -> tuple[Figure, list[list[Any]]]:
    from matplotlib.figure import Figure

    height = min(max(width * chart.ratio, 0.45 * width), 1.6 * width)
    # Room for titles, ticks and colour bars.
    size = (columns * width + 1.0, rows * height + 0.2 * rows + 0.3)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    return figure, figure.subplots(rows, columns, squeeze=False).tolist()
