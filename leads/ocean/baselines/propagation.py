"""Sea-surface height carried by 1.5-layer quasi-geostrophic dynamics: in a periodic box and in an open window."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from leads.environments.equivalent_barotropic_qg import GRAVITY, RADIUS, EquivalentBarotropicQG, rotation
from leads.errors import SettingsError, ShapeError
from leads.integrators import check_finite, integrate
from leads.numerics.sine import solve_helmholtz
from leads.ocean.baselines.baseline import Baseline, last_known
from leads.ocean.baselines.filling import grown
from leads.ocean.scores.checks import spacing as spacing_of
from leads.ocean.scores.currents import EQUATOR

DAY = 86400.0


@dataclass(frozen=True)
class PeriodicPropagation(Baseline):
    """The family ``equivalent_barotropic_qg`` run from the last frame, in a square periodic box.

    Attributes:
        latitude: degrees north, a number or ``(E,)``.
        spacing: of points, m.
        c: speed of long gravity waves, m/s, a number or ``(E,)``; 2.7 is MASSH's default.
        drag: 1/s.

    Raises:
        SettingsError: at the forecast, for boxes that :class:`EquivalentBarotropicQG` refuses.
    """

    latitude: Tensor | float
    spacing: float
    c: Tensor | float = 2.7
    drag: Tensor | float = 0.0

    def _forecast(self, past: Tensor, past_times: Tensor, leads: Tensor) -> Tensor:
        del past_times
        ny, nx = past.shape[-2:]
        _one_channel(past)
        if ny != nx:
            raise ShapeError(f"A periodic box is square here, got {ny} x {nx}. Use WindowPropagation.")
        system = EquivalentBarotropicQG(ny, spacing=self.spacing)
        parameters = [_each(v, len(past), past) for v in (self.latitude, self.c, self.drag)]
        _off_equator(parameters[0])
        h = grown(last_known(past))
        states = system.simulate(h, torch.stack(parameters, -1), _from_zero(leads))
        return states[:, :, len(states[0, 0]) - len(leads) :]


@dataclass(frozen=True)
class WindowPropagation(Baseline):
    """The same equations in a window with boundaries, on a beta-plane:

        q = (g/f) lap h - (g f / c^2) h,   u = -(g/f) h_y,   v = (g/f) h_x
        dq/dt + u q_x + v q_y + beta v = -r (q - q_0)

    h is held at its first value on the window's edge: what changes of q is inverted by sine series with zero there. In
    the sponge (and on land, whose heights are grown from the sea) q is drawn back to its first value q_0 at the rate r,
    which grows with the square of the depth in it to ``1 / relaxation``. Advection is third-order upwind, time stepping
    RK4. Coasts let water through: the model is for windows that are mostly sea.

    Sources: Ubelmann, Klein and Fu (2015), J. Atmos. Oceanic Technol. 32; Le Guillou et al. (2021), ibid. 38 (BFN-QG: step
    600 s, sponge 50 km, nudging time 1 day; MASSH's model ``qg1l``).

    Attributes:
        latitude: degrees north, a number or ``(E,)``.
        spacing: of points along y and x, m.
        c: m/s, a number or ``(E,)``.
        sponge: its width, m; 0 for none.
        relaxation: s.
        step: longest step, s; with points 10 km apart an hour is good to 1e-6 of the change.

    Raises:
        SettingsError: values that are not positive; latitudes within 5 degrees of the equator (at the forecast).
        DivergenceError: at the forecast, where a step is too long for the currents.
    """

    latitude: Tensor | float
    spacing: tuple[float, float]
    c: Tensor | float = 2.7
    sponge: float = 50e3
    relaxation: float = DAY
    step: float = 3600.0

    def __post_init__(self) -> None:
        good = min(self.spacing) > 0 and self.sponge >= 0 and self.relaxation > 0 and self.step > 0
        if not good:
            raise SettingsError(f"Spacings, relaxation time and step must be positive, got {self}.")

    def _forecast(self, past: Tensor, past_times: Tensor, leads: Tensor) -> Tensor:
        del past_times
        e, n, _, _, ny, nx = past.shape
        _one_channel(past)
        if ny < 5 or nx < 5:
            raise ShapeError(f"Propagation needs a window of at least 5 x 5 points, got {ny} x {nx}.")
        latitude, c = (_each(v, e, past) for v in (self.latitude, self.c))
        _off_equator(latitude)
        plane = [v.repeat_interleave(n)[:, None, None] for v in rotation(latitude, c)]
        last = last_known(past)
        h0 = grown(last).reshape(e * n, ny, nx)
        land = ~torch.isfinite(last).reshape(e * n, ny, nx)
        states = self._advance(h0, land, plane, _from_zero(leads))[-len(leads) :]
        return states.movedim(0, 1).reshape(e, n, len(leads), 1, ny, nx)

    def _advance(self, h0: Tensor, land: Tensor, plane: list[Tensor], times: Tensor) -> Tensor:
        """``(T, B, Y, X)`` of ``h0 (B, Y, X)``; ``plane`` holds f, beta and Rd^-2, ``(B, 1, 1)`` each."""
        f, beta, stretching = plane
        dy, dx = self.spacing
        lengths = ((h0.shape[-2] - 1) * dy, (h0.shape[-1] - 1) * dx)
        inner = _laplacian(h0, dy, dx)
        q0 = GRAVITY / f * (pad(inner[:, None], (1, 1, 1, 1), mode="replicate")[:, 0] - stretching * h0)
        rate = self._rate(land, h0)[:, 1:-1, 1:-1]

        def height(change: Tensor) -> Tensor:
            return h0 + pad(solve_helmholtz(f / GRAVITY * change, lengths, stretching), (1, 1, 1, 1))

        def field(t: Tensor, change: Tensor) -> Tensor:
            del t
            h = height(change)
            q = q0 + pad(change, (1, 1, 1, 1))
            u = -GRAVITY / f * (h[:, 2:, 1:-1] - h[:, :-2, 1:-1]) / (2 * dy)
            v = GRAVITY / f * (h[:, 1:-1, 2:] - h[:, 1:-1, :-2]) / (2 * dx)
            advection = _upwind(u, q[:, 1:-1], -1, dx) + _upwind(v, q[:, :, 1:-1], -2, dy)
            return -advection - beta * v - rate * change

        changes = integrate(field, torch.zeros_like(inner), times, method="rk4", max_step=self.step)
        return check_finite(torch.stack([height(change) for change in changes]), times)

    def _rate(self, land: Tensor, like: Tensor) -> Tensor:
        """Of the sponge, 1/s, ``(B, Y, X)``."""
        ny, nx = land.shape[-2:]
        dy, dx = self.spacing
        rows, columns = (torch.arange(n, dtype=like.dtype, device=like.device) for n in (ny, nx))
        to_y = torch.minimum(rows, ny - 1 - rows)[:, None] * dy
        to_x = torch.minimum(columns, nx - 1 - columns) * dx
        depth = (1 - torch.minimum(to_y, to_x) / max(self.sponge, 1e-30)).clamp_min(0).square()
        return torch.where(land, 1.0, depth) / self.relaxation


def window_geometry(latitude: Tensor, longitude: Tensor) -> tuple[float, tuple[float, float]]:
    """Middle latitude of a window, degrees, and spacings (dy, dx) in m there, for :class:`WindowPropagation`.

    Args:
        latitude, longitude: uniform coordinates in degrees.

    Raises:
        SettingsError: coordinates that are not uniform, or a window within 5 degrees of the equator.
    """
    middle = float((latitude[0] + latitude[-1]) / 2)
    ends = torch.stack([latitude.min(), latitude.max()])
    _off_equator(ends if float(ends.prod()) > 0 else torch.zeros(1))
    metre = math.pi / 180 * RADIUS
    dy = spacing_of(latitude, len(latitude), "latitude") * metre
    return middle, (dy, spacing_of(longitude, len(longitude), "longitude") * metre * math.cos(math.radians(middle)))


def _laplacian(h: Tensor, dy: float, dx: float) -> Tensor:
    """On the inner points."""
    middle = h[:, 1:-1, 1:-1]
    return (h[:, 2:, 1:-1] + h[:, :-2, 1:-1] - 2 * middle) / dy**2 + (
        h[:, 1:-1, 2:] + h[:, 1:-1, :-2] - 2 * middle
    ) / dx**2


def _upwind(speed: Tensor, q: Tensor, axis: int, spacing: float) -> Tensor:
    """``speed dq/dx`` on the inner points along ``axis`` of q, which is continued linearly beyond its ends."""
    n = q.shape[axis]
    at = lambda x, i, m: x.narrow(axis, i, m)  # noqa: E731
    before = 2 * at(q, 0, 1) - at(q, 1, 1)
    after = 2 * at(q, n - 1, 1) - at(q, n - 2, 1)
    wide = torch.cat([before, q, after], axis)
    a, b, c, d, e = (at(wide, i, n - 2) for i in range(5))
    centred = (a - 8 * b + 8 * d - e) / (12 * spacing)
    return speed * centred + speed.abs() * (a - 4 * b + 6 * c - 4 * d + e) / (12 * spacing)


def _one_channel(past: Tensor) -> None:
    if past.shape[3] != 1:
        raise ShapeError(
            f"Propagation carries one channel, sea-surface height in m; got C = {past.shape[3]}. Select it."
        )


def _each(value: Tensor | float, environments: int, like: Tensor) -> Tensor:
    x = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if x.ndim > 1 or (x.ndim == 1 and len(x) not in (1, environments)):
        raise ShapeError(
            f"A parameter is a number or one for each of {environments} environments, got {tuple(x.shape)}."
        )
    return x.expand(environments)


def _off_equator(latitude: Tensor) -> None:
    worst = float(latitude.abs().min())
    if worst < EQUATOR:
        raise SettingsError(
            f"Geostrophy fails near the equator: latitudes must be at least {EQUATOR:g} degrees away from it, got {worst:g}. "
            "Leave those rows or environments out."
        )


def _from_zero(leads: Tensor) -> Tensor:
    """The leads as times to integrate through, with 0 in front where they lack it."""
    return leads if float(leads[0]) == 0 else torch.cat([leads.new_zeros(1), leads])
