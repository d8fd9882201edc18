"""Where a field lies on the page: coordinates, their labels, land."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leads.errors import SettingsError, ShapeError
from leads.ocean.maps.colours import LAND

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Chart:
    """A grid of Y rows and X columns; make one by :meth:`geographic` or :meth:`box`.

    Attributes:
        x, y: coordinates of the points, increasing, ``(X,)`` and ``(Y,)``.
        kind: ``"geographic"`` (degrees) or ``"box"`` (km).
        land: True on land, ``(Y, X)``; None takes the points at which a field has no value.
        periodic: of a box: what leaves on one side comes back on the other.

    Raises:
        ShapeError: land that does not fit the coordinates, or coordinates of fewer than two points.
        SettingsError: coordinates that do not increase.
    """

    x: Tensor
    y: Tensor
    kind: str = "box"
    land: Tensor | None = None
    periodic: bool = False

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            values = torch.as_tensor(getattr(self, name), dtype=torch.float64)
            if values.ndim != 1 or len(values) < 2:
                raise ShapeError(f"A chart's {name} is one axis of at least two points, got {tuple(values.shape)}.")
            if not bool((values.diff() > 0).all()):
                raise SettingsError(
                    f"A chart's {name} must increase; flip the axis of the field and of the coordinate."
                )
            object.__setattr__(self, name, values)
        if self.land is not None and tuple(self.land.shape) != self.shape:
            raise ShapeError(f"Land has shape {tuple(self.land.shape)}, the chart {self.shape}.")

    @classmethod
    def geographic(cls, latitude: Tensor, longitude: Tensor, land: Tensor | None = None) -> Chart:
        """Latitudes and longitudes in degrees; a degree of longitude is drawn as wide as it is there."""
        return cls(longitude, latitude, "geographic", land)

    @classmethod
    def box(
        cls, shape: tuple[int, int], spacing: tuple[float, float], land: Tensor | None = None, periodic: bool = True
    ) -> Chart:
        """A plane of ``(Y, X)`` points ``spacing`` m apart, in km."""
        y, x = (torch.arange(n, dtype=torch.float64) * s / 1e3 for n, s in zip(shape, spacing, strict=True))
        return cls(x, y, "box", land, periodic)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.y), len(self.x)

    @property
    def aspect(self) -> float:
        """Height over width of a unit of each coordinate."""
        if self.kind != "geographic":
            return 1.0
        return 1 / max(math.cos(math.radians(float(self.y.mean()))), 0.05)

    @property
    def ratio(self) -> float:
        """Height over width of the chart as drawn."""
        return self.aspect * float((self.y[-1] - self.y[0]) / (self.x[-1] - self.x[0]))

    def check(self, field: Tensor, axes: int = 2) -> None:
        """Raise unless ``field`` has ``axes`` axes of which the last two are the chart's."""
        if field.ndim != axes or tuple(field.shape[-2:]) != self.shape:
            raise ShapeError(
                f"This map needs {axes} axes that end in the chart's {self.shape}, got a field of {tuple(field.shape)}."
            )

    def draw(self, ax: Axes, field: Tensor, *, labels: bool = True, **limits: Any) -> Any:
        """Colours of ``field (Y, X)`` on ``ax`` with land in grey; returns what a colour bar is made of."""
        from matplotlib.colors import ListedColormap

        land = ~torch.isfinite(field) if self.land is None else self.land
        x, y = self.x.numpy(), self.y.numpy()
        if bool(land.any()):
            ax.pcolormesh(
                x,
                y,
                torch.where(land.cpu(), 1.0, torch.nan),
                cmap=ListedColormap([LAND]),
                shading="nearest",
                rasterized=True,
            )
        shown = torch.where(land.to(field.device), torch.nan, field).detach().cpu()
        image = ax.pcolormesh(x, y, shown, shading="nearest", rasterized=True, **limits)
        ax.set_aspect(self.aspect)
        ax.grid(False)
        self._ticks(ax, labels)
        return image

    def _ticks(self, ax: Axes, labels: bool) -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        ax.tick_params(labelsize=8, length=2.5)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
        if self.kind == "geographic":
            ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _degrees((v + 180) % 360 - 180, "EW")))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _degrees(v, "NS")))
        elif labels:
            ax.set_xlabel("x (km)", fontsize=8.5)
            ax.set_ylabel("y (km)", fontsize=8.5)
        if not labels:
            ax.tick_params(labelbottom=False, labelleft=False)


def _degrees(value: float, sides: str) -> str:
    side = "" if value == 0 else sides[0] if value > 0 else sides[1]
    return f"{abs(value):g}°{side}"
