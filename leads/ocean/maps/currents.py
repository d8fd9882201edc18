"""Arrows and streamlines of a current over a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from leads.errors import UnknownNameError
from leads.ocean.maps.chart import Chart
from leads.registry import nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Style = Literal["arrows", "streamlines"]
#: Arrows along the longer side.
ARROWS = 18


def draw_currents(
    ax: Axes, chart: Chart, u: Tensor, v: Tensor, style: Style = "arrows", key: bool = True, arrows: int = ARROWS
) -> None:
    """Draw a current over a map.

    Args:
        ax: with the map on it.
        u, v: eastward and northward, m/s, ``(Y, X)``; NaN on land.
        style: ``"arrows"`` or ``"streamlines"``, whose width grows with the speed.
        key: an arrow of a round speed beside the map.
        arrows: along the longer side.

    Raises:
        ShapeError: currents that do not fit the chart.
        UnknownNameError: unknown style.
    """
    for part in (u, v):
        chart.check(part)
    styles = {"arrows": _arrows, "streamlines": _streamlines}
    if style not in styles:
        raise UnknownNameError(
            f"Currents are drawn as arrows or streamlines, got {style!r}. {nearest(str(style), tuple(styles))}"
        )
    if not bool((torch.hypot(u, v) > 0).any()):
        return
    styles[style](ax, chart, u.detach().cpu(), v.detach().cpu(), key, arrows)


def _arrows(ax: Any, chart: Chart, u: Tensor, v: Tensor, key: bool, arrows: int) -> None:
    every = max(1, round(max(chart.shape) / arrows))
    cut = (slice(every // 2, None, every),) * 2
    speed = torch.hypot(u, v)
    typical = float(torch.quantile(speed[torch.isfinite(speed)].double(), 0.95))
    # Arrows of that speed reach to the next one.
    step = float(chart.x[1] - chart.x[0]) * every
    made = ax.quiver(
        chart.x[cut[1]], chart.y[cut[0]], u[cut], v[cut],
        angles="uv", units="x", scale_units="x", scale=typical / (1.1 * step), width=0.06 * step, color="#202020", pivot="mid",
        headwidth=5, headlength=5.5, headaxislength=5, minlength=0.6,
    )  # fmt: skip
    if key:
        shown = _round(typical)
        ax.quiverkey(
            made, 0.86, 1.045, shown, f"{shown:g} m/s", labelpos="E", coordinates="axes", fontproperties={"size": 8}
        )


def _streamlines(ax: Any, chart: Chart, u: Tensor, v: Tensor, key: bool, arrows: int) -> None:
    del key, arrows
    speed = torch.hypot(u, v)
    width = 0.3 + 1.7 * (speed / speed[torch.isfinite(speed)].max()).nan_to_num(0.0)
    # Matplotlib asks for coordinates that are uniform to rounding.
    x, y = (torch.linspace(float(c[0]), float(c[-1]), len(c), dtype=torch.float64).numpy() for c in (chart.x, chart.y))
    limits = ax.get_xlim(), ax.get_ylim()
    ax.streamplot(x, y, u.numpy(), v.numpy(), linewidth=width.numpy(), color="#202020", density=1.3, arrowsize=0.7)
    ax.set(xlim=limits[0], ylim=limits[1])


def _round(speed: float) -> float:
    """The nearest of 1, 2 and 5 times a power of ten."""
    candidates = [m * 10.0**e for e in range(-4, 3) for m in (1, 2, 5)]
    return min(candidates, key=lambda c: abs(c - speed))
