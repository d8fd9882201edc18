"""The plane on which quasi-geostrophic models live: heights and streamfunctions at one latitude."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from leads.environments.equivalent_barotropic_qg import GRAVITY, RADIUS, ROTATION
from leads.errors import DataError, SettingsError

#: Latitude in degrees below which geostrophy, and with it every height-to-current relation here, is refused.
TROPICS = 5.0


@dataclass(frozen=True)
class BetaPlane:
    """``f = f0 + beta y`` around a latitude: ``f0 = 2 Omega sin(lat)``, ``beta = 2 Omega cos(lat) / R``.

    Attributes:
        latitude: degrees north, at least 5 degrees from the equator.

    Raises:
        DataError: a latitude on no map, or too near the equator, where currents are not geostrophic.
    """

    latitude: float

    def __post_init__(self) -> None:
        if not abs(self.latitude) <= 90:
            raise DataError(f"A latitude lies between -90 and 90 degrees north, got {self.latitude:g}.")
        if abs(self.latitude) < TROPICS:
            raise DataError(
                f"At {self.latitude:g} degrees north f is too small for geostrophy. Choose a region whose middle is at "
                f"least {TROPICS:g} degrees from the equator."
            )

    @property
    def f0(self) -> float:
        """Coriolis parameter in 1/s; negative in the south."""
        return 2 * ROTATION * math.sin(math.radians(self.latitude))

    @property
    def beta(self) -> float:
        """Its northward gradient in 1/(m s)."""
        return 2 * ROTATION / RADIUS * math.cos(math.radians(self.latitude))

    def deformation_radius(self, c: float) -> float:
        """``c / |f0|`` in m for long gravity waves of speed ``c`` in m/s."""
        if not c > 0:
            raise SettingsError(f"A gravity-wave speed is positive, got {c:g} m/s.")
        return c / abs(self.f0)

    def wave_speed(self, rd: float) -> float:
        """The inverse of :meth:`deformation_radius`."""
        return rd * abs(self.f0)

    def streamfunction(self, height: Tensor) -> Tensor:
        """``psi = g h / f0`` in m2/s of heights in m, any shape."""
        return height * (GRAVITY / self.f0)

    def height(self, streamfunction: Tensor) -> Tensor:
        """``h = f0 psi / g`` in m, the inverse of :meth:`streamfunction`."""
        return streamfunction * (self.f0 / GRAVITY)

    def long_wave_speed(self, rd: float) -> float:
        """Westward speed ``beta rd^2`` of long Rossby waves in m/s."""
        return self.beta * rd**2
