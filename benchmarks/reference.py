"""Right-hand sides and steppers in plain NumPy, one trajectory at a time, as the public codes write them.

They are what `benchmarks/simulation.py` times SciPy with, and share no line with the library.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray
Rhs = Callable[[float, Array], Array]


def lotka_volterra(p: Array) -> Rhs:
    a, b, g, d = p
    return lambda t, y: np.array([a * y[0] - b * y[0] * y[1], d * y[0] * y[1] - g * y[1]])


def glycolytic_oscillator(p: Array) -> Rhs:
    j0, k1, k2, k3, k4, k5, k6, big, q, n, a, kappa, psi, k = p

    def rhs(t: float, s: Array) -> Array:
        s1, s2, s3, s4, s5, s6, s7 = s
        r = k1 * s1 * s6 / (1 + (s6 / big) ** q)
        return np.array([
            j0 - r,
            2 * r - k2 * s2 * (n - s5) - k6 * s2 * s5,
            k2 * s2 * (n - s5) - k3 * s3 * (a - s6),
            k3 * s3 * (a - s6) - k4 * s4 * s5 - kappa * (s4 - s7),
            k2 * s2 * (n - s5) - k4 * s4 * s5 - k6 * s2 * s5,
            -2 * r + 2 * k3 * s3 * (a - s6) - k5 * s6,
            psi * kappa * (s4 - s7) - k * s7,
        ])  # fmt: skip

    return rhs


def selkov(p: Array) -> Rhs:
    a, b = p
    return lambda t, y: np.array([-y[0] + a * y[1] + y[0] ** 2 * y[1], b - a * y[1] - y[0] ** 2 * y[1]])


def pendulum(p: Array) -> Rhs:
    a, w0, f0, wf = p
    return lambda t, y: np.array([y[1], f0 * math.cos(wf * t) - w0**2 * math.sin(y[0]) - a * y[1]])


def nine_point(x: Array) -> Array:
    edges = sum(np.roll(x, s, a) for s in (1, -1) for a in (0, 1))
    corners = sum(np.roll(np.roll(x, s, 0), r, 1) for s in (1, -1) for r in (1, -1))
    return 0.5 * edges + 0.25 * corners - 3 * x


def five_point(x: Array) -> Array:
    return sum(np.roll(x, s, a) for s in (1, -1) for a in (0, 1)) - 4 * x


def gray_scott(p: Array) -> Rhs:
    feed, kill = p

    def rhs(t: float, y: Array) -> Array:
        u, v = y.reshape(2, 32, 32)
        uvv = u * v * v
        return np.stack([
            0.2097 * nine_point(u) - uvv + feed * (1 - u),
            0.105 * nine_point(v) + uvv - (feed + kill) * v,
        ]).ravel()  # fmt: skip

    return rhs


def brusselator(p: Array) -> Rhs:
    a, b = p

    def rhs(t: float, y: Array) -> Array:
        u, v = y.reshape(2, 8, 8)
        uuv = u * u * v
        return np.stack([nine_point(u) + a - (b + 1) * u + uuv, 0.1 * nine_point(v) + b * u - uuv]).ravel()

    return rhs


def reaction_diffusion(p: Array) -> Rhs:
    a, b, k = p
    h = (2 / 32) ** 2

    def rhs(t: float, y: Array) -> Array:
        u, v = y.reshape(2, 32, 32)
        return np.stack([a * five_point(u) / h + u - u**3 - v - k, b * five_point(v) / h + u - v]).ravel()

    return rhs


def wave(p: Array) -> Rhs:
    c, k = p
    weights = {0: -5 / 2, 1: 4 / 3, 2: -1 / 12}

    def rhs(t: float, y: Array) -> Array:
        w, v = y.reshape(2, 64, 64)
        q = np.pad(w, 2, mode="symmetric")
        lap = 2 * weights[0] * w
        for s in (1, 2):
            lap = lap + weights[s] * (
                q[2 + s : 66 + s, 2:66] + q[2 - s : 66 - s, 2:66] + q[2:66, 2 + s : 66 + s] + q[2:66, 2 - s : 66 - s]
            )
        return np.stack([v, c**2 * lap - k * v]).ravel()

    return rhs


def navier_stokes_step(p: Array, w: Array, steps: int, dt: float = 1e-3) -> Array:
    """The published stepper: explicit Euler for advection and forcing, Crank-Nicolson for viscosity, full FFTs."""
    nu, amplitude, *waves = p
    n = w.shape[-1]
    k = np.fft.fftfreq(n, 1 / n)
    kx, ky = np.meshgrid(k, k, indexing="ij")
    lap = 4 * math.pi**2 * (kx**2 + ky**2)
    lap[0, 0] = 1
    keep = (np.abs(kx) <= n / 3) & (np.abs(ky) <= n / 3)
    x, y = np.meshgrid(np.arange(n) / n, np.arange(n) / n, indexing="ij")
    a, b, c, d = waves
    force = amplitude * (np.sin(2 * math.pi * (a * x + b * y)) + np.cos(2 * math.pi * (c * x + d * y)))
    fh, wh = np.fft.fft2(force), np.fft.fft2(w)
    for _ in range(steps):
        psi = wh / lap
        u = np.fft.ifft2(2j * math.pi * ky * psi).real
        v = np.fft.ifft2(-2j * math.pi * kx * psi).real
        wx = np.fft.ifft2(2j * math.pi * kx * wh).real
        wy = np.fft.ifft2(2j * math.pi * ky * wh).real
        advection = keep * np.fft.fft2(u * wx + v * wy)
        half = 0.5 * dt * nu * lap
        wh = ((1 - half) * wh - dt * advection + dt * fh) / (1 + half)
    return np.fft.ifft2(wh).real


def rk4(rhs: Rhs, x: Array, step: float, steps: int) -> Array:
    """``steps`` classical Runge-Kutta steps of an autonomous right-hand side."""
    for _ in range(steps):
        a = rhs(0.0, x)
        b = rhs(0.0, x + step / 2 * a)
        c = rhs(0.0, x + step / 2 * b)
        x = x + step / 6 * (a + 2 * b + 2 * c + rhs(0.0, x + step * c))
    return x


def combined_equation(p: Array) -> Rhs:
    """Pseudo-spectral on 128 points of a line of length 32, as the published generator hands it to Radau."""
    alpha, beta, delta, gamma = p
    k = 2 * math.pi * np.fft.fftfreq(128, 32 / 128)

    def rhs(t: float, u: Array) -> Array:
        uh = np.fft.fft(u)
        derivative = lambda power: np.fft.ifft((1j * k) ** power * uh).real
        return -alpha * u * derivative(1) + beta * derivative(2) - delta * derivative(3) - gamma * derivative(4)

    return rhs


def burgers(p: Array, cells: int = 16384) -> Rhs:
    """Centred flux of order 6 with artificial dissipation by second and fifth differences; unforced."""
    mu = p[0]
    h = 2 * math.pi / cells
    roll = lambda u, by: np.roll(u, -by)

    def rhs(t: float, u: Array) -> Array:
        f = u * u / 2
        flux = (37 * (f + roll(f, 1)) - 8 * (roll(f, -1) + roll(f, 2)) + roll(f, -2) + roll(f, 3)) / 60
        second = np.abs(roll(u, 1) - 2 * u + roll(u, -1))
        fifth = roll(u, 3) - 5 * roll(u, 2) + 10 * roll(u, 1) - 10 * u + 5 * roll(u, -1) - roll(u, -2)
        flux = flux - 0.1 * np.maximum(second, roll(second, 1)) * (roll(u, 1) - u) + fifth / 120
        return -(flux - roll(flux, -1)) / h + mu * (roll(u, 1) - 2 * u + roll(u, -1)) / h**2

    return rhs


def kolmogorov(p: Array, n: int = 512) -> Rhs:
    """Vorticity ``(n, n)`` with Arakawa's Jacobian, centred Laplacian, forcing ``sin(4 y)`` and drag."""
    nu, side, force, drag = p
    h = side / n
    k = 2 * math.pi * np.fft.fftfreq(n, h)
    k2 = k[:, None] ** 2 + k[: n // 2 + 1] ** 2
    k2[0, 0] = 1
    shear = -force * 4 * np.cos(4 * h * np.arange(n))[:, None]

    def rhs(t: float, w: Array) -> Array:
        psi = np.fft.irfft2(np.fft.rfft2(w) / k2, s=w.shape)
        at = lambda f, i, j: np.roll(f, (-i, -j), (0, 1))
        e, o, s, m = (at(psi, i, j) for i, j in ((0, 1), (0, -1), (1, 0), (-1, 0)))
        we, wo, ws, wm = (at(w, i, j) for i, j in ((0, 1), (0, -1), (1, 0), (-1, 0)))
        se, so, me, mo = (at(psi, i, j) for i, j in ((1, 1), (1, -1), (-1, 1), (-1, -1)))
        wse, wso, wme, wmo = (at(w, i, j) for i, j in ((1, 1), (1, -1), (-1, 1), (-1, -1)))
        one = (we - wo) * (s - m) - (ws - wm) * (e - o)
        two = we * (se - me) - wo * (so - mo) - ws * (se - so) + wm * (me - mo)
        three = wse * (s - e) - wmo * (o - m) - wso * (s - o) + wme * (e - m)
        lap = (we + wo + ws + wm - 4 * w) / h**2
        return -(one + two + three) / (12 * h * h) + nu * lap + shear - drag * w

    return rhs
