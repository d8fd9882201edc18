"""An altimeter's ground tracks over a periodic box."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from leads.errors import SettingsError
from leads.observation.operator import Layout, operators
from leads.observation.points import Sampled


@operators.register("along_track")
@dataclass(frozen=True, eq=False)
class AlongTrack(Sampled):
    """Values along straight ascending and descending tracks that come back after a repeat period.

    A satellite crosses the box n times northwards and n times southwards in a period, n = L_x / spacing rounded, the two
    in turn and at equal distances in time, ``repeat / 2 n``. A crossing takes minutes and counts as instantaneous. Tracks
    leave the y axis by ``heading``, ascending ones to the right and descending ones to the left as seen going north;
    parallel neighbours are ``L_x / n`` apart and are not flown one after the other. In the frame at time t the points of
    all crossings in ``(t - window, t]`` are seen, with the state as it is at t (as daily products take them); slots of
    crossings that fall outside are not seen.

    Defaults: the orbit of TOPEX/Poseidon and Jason (9.9156 days, 127 revolutions, 66.04 degrees of inclination; Fu et
    al., 1994, JGR 99, 24369) as it is at 38 degrees north: 315 km cos(38) = 249 km between tracks, headed
    ``asin(cos(66.04) / cos(38)) = 31`` degrees off north if the Earth's rotation is left out; one value a second, 6 km apart.

    Args:
        window: in the unit of the times, as is ``repeat``; a frame's distance leaves no crossing out.
        repeat: period of the orbit.
        spacing, along: of parallel tracks, and of points on a track, in the unit of the grid.
        heading: in degrees, between -80 and 80.
        satellites: on the same orbit, evenly shifted in time and in space.

    Raises:
        SettingsError: values out of range; when bound, states on no periodic plane.
    """

    kind = "along_track"
    moves = True
    window: float = 86400.0
    repeat: float = 9.9156 * 86400.0
    spacing: float = 249e3
    along: float = 6e3
    heading: float = 31.0
    satellites: int = 1

    def __post_init__(self) -> None:
        if not all(0 < v < math.inf for v in (self.window, self.repeat, self.spacing, self.along)):
            raise SettingsError(
                f"window, repeat, spacing and along of an orbit must be positive, got {self.window}, {self.repeat}, "
                f"{self.spacing} and {self.along}."
            )
        if not abs(self.heading) <= 80 or self.satellites < 1:
            raise SettingsError(
                f"An orbit's heading lies between -80 and 80 degrees and there is at least one satellite, got "
                f"{self.heading} and {self.satellites}."
            )

    def check(self, layout: Layout) -> None:
        super().check(layout)
        if layout.grid is not None and not layout.grid.periodic:
            raise SettingsError(
                "AlongTrack flies over a periodic box. For real tracks over another grid give their points to AtPoints."
            )

    @property
    def lengths(self) -> tuple[float, float]:
        """Sides (L_y, L_x) of the box."""
        ly, lx = (n * d for n, d in zip(self.grid.shape, self.grid.spacing, strict=True))
        return ly, lx

    @property
    def tracks(self) -> int:
        """n: ascending tracks, and descending ones."""
        return max(1, round(self.lengths[1] / self.spacing))

    @property
    def points_a_track(self) -> int:
        """Points on one crossing of the box."""
        return max(1, round(self.lengths[0] / math.cos(math.radians(self.heading)) / self.along))

    @property
    def slots(self) -> int:
        """Most crossings of one satellite in a window."""
        # Rounding must not add a slot that is never used.
        return math.ceil(self.window / self.interval - 1e-9)

    @property
    def interval(self) -> float:
        """Time between two crossings of one satellite."""
        return self.repeat / (2 * self.tracks)

    @property
    def count(self) -> int:
        return self.satellites * self.slots * self.points_a_track

    def positions(self, t: Tensor | None) -> tuple[Tensor, Tensor]:
        t = self.times(t)
        number = torch.arange(self.satellites, device=t.device)
        shift = self.interval * number / self.satellites
        # (..., T, satellites): crossings so far, then (..., T, satellites, slots): the last ones.
        last = ((t[..., None] - shift) / self.interval + 1e-9).floor()
        crossing = last[..., None] - torch.arange(self.slots, device=t.device)
        when = crossing * self.interval + shift[:, None]
        used = when > t[..., None, None] - self.window * (1 - 1e-9)
        turn = crossing.long()
        ascending = turn % 2 == 0
        track = (turn.div(2, rounding_mode="floor") * _stride(self.tracks)) % self.tracks
        offset = (number / self.satellites)[:, None] + torch.where(ascending, 0.0, 0.5)
        ly, lx = self.lengths
        start = (track + offset) * (lx / self.tracks)
        n = self.points_a_track
        y = (torch.arange(n, device=t.device, dtype=torch.float64) + 0.5) * (ly / n)
        slope = torch.where(ascending, 1.0, -1.0) * math.tan(math.radians(self.heading))
        x = start[..., None] + slope[..., None] * y
        where = torch.stack([y.expand_as(x), x], -1).flatten(-4, -2)
        return where, used[..., None].expand(*used.shape, n).flatten(-3)


def _stride(n: int) -> int:
    """A step over n tracks that visits all of them, near 0.38 n (so that neighbours are flown far apart in time)."""
    able = [k for k in range(1, n + 1) if math.gcd(k, n) == 1]
    return min(able, key=lambda k: abs(k - 0.382 * n))
