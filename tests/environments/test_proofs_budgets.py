"""Energy and enstrophy budgets over time, every term by NumPy from the fields alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.fft
import torch

from leads.environments import System
from leads.environments.barotropic_qg import BarotropicQG
from leads.environments.decaying_turbulence import DecayingTurbulence
from leads.environments.double_gyre import DoubleGyre
from leads.environments.equivalent_barotropic_qg import EquivalentBarotropicQG
from leads.environments.kolmogorov import Kolmogorov
from leads.environments.navier_stokes import NavierStokes
from leads.environments.two_layer_qg import TwoLayerQG

DAY = 86400.0
#: Intervals between frames, a multiple of 4 (Boole's rule).
FRAMES = 40


class Spectrum:
    """Wavenumbers and Parseval's sums of fields ``(..., n, n)`` on a square of side ``length``."""

    def __init__(self, n: int, length: float) -> None:
        k = 2 * np.pi / length * np.fft.fftfreq(n, 1 / n)
        self.rows, self.columns = k[:, None], k
        self.k2 = self.rows**2 + self.columns**2
        self.inverse = np.where(self.k2 > 0, 1 / np.where(self.k2 > 0, self.k2, 1), 0)
        self.star = np.sqrt(self.k2) * length / n

    def modes(self, field: np.ndarray) -> np.ndarray:
        return np.fft.fft2(field, norm="forward")

    def mean(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Mean of the product of two fields, from their modes."""
        return (a.conj() * b).real.sum((-2, -1))

    def hyperviscosity(self, step: float) -> np.ndarray:
        return -((self.star / np.pi) ** 8) / (1.5 * step)


def solved(system: System, x: np.ndarray, p: tuple[float, ...], end: float, refine: int = 1) -> np.ndarray:
    """Frames ``(FRAMES + 1, C, *X)``."""
    t = torch.linspace(0, end, FRAMES + 1, dtype=torch.float64)
    row = torch.tensor([p], dtype=torch.float64)
    return system.simulate(torch.from_numpy(x)[None, None], row, t, refine=refine)[0, 0].numpy()


def assert_closed(quantity: np.ndarray, terms: dict[str, np.ndarray], end: float) -> None:
    """The change of ``quantity`` is the integral of the sum of ``terms``, of which each one counts."""
    weights = np.zeros(FRAMES + 1)
    for i in range(0, FRAMES, 4):
        weights[i : i + 5] += np.array([7, 32, 12, 32, 7]) * 2 / 45 * end / FRAMES
    works = {name: float(weights @ term) for name, term in terms.items()}
    change = float(quantity[-1] - quantity[0])
    assert abs(sum(works.values()) - change) < 1e-6 * abs(change), (change, works)
    assert min(map(abs, works.values())) > 1e-4 * abs(change), (change, works)


def smooth(n: int, seed: int, waves: int = 3) -> np.ndarray:
    """A random field of mean 0 and mean square 1 of at most ``waves`` waves along each axis, ``(n, n)``."""
    random = np.random.RandomState(seed)
    angle = 2 * np.pi * np.arange(n) / n
    field = np.zeros((n, n))
    for i in range(-waves, waves + 1):
        for j in range(1, waves + 1):
            a, b = random.standard_normal(2)
            phase = i * angle[:, None] + j * angle
            field += a * np.cos(phase) + b * np.sin(phase)
    return field / np.sqrt(np.mean(field**2))


def test_navier_stokes() -> None:
    n, nu, amplitude, end = 48, 1e-2, 0.5, 0.4
    s = Spectrum(n, 1.0)
    w = solved(NavierStokes(n), 3 * smooth(n, 0)[None], (nu, amplitude, 1, 1, 1, 2), end, refine=4)[:, 0]
    x = np.arange(n) / n
    force = amplitude * (np.sin(2 * np.pi * (x[:, None] + x)) + np.cos(2 * np.pi * (x[:, None] + 2 * x)))
    wh, fh = s.modes(w), s.modes(force)
    enstrophy = s.mean(wh, wh) / 2
    energy = {"viscosity": -2 * nu * enstrophy, "forcing": s.mean(s.inverse * wh, fh)}
    assert_closed(s.mean(s.inverse * wh, wh) / 2, energy, end)
    assert_closed(enstrophy, {"viscosity": -nu * s.mean(s.k2 * wh, wh), "forcing": s.mean(wh, fh)}, end)


def test_kolmogorov() -> None:
    n, end = 48, 1.0
    nu, side, force, mu = 5e-3, 0.75 * math.pi, 1.0, 0.1
    s, k = Spectrum(n, side), 4 * math.pi / side
    system = Kolmogorov(n, 64, closure=0.0)
    system.rtol, system.atol = 1e-10, 1e-12
    zeta = solved(system, 3 * smooth(n, 1)[None], (nu, side, force, mu), end)[:, 0]
    zh = s.modes(zeta)
    y = (side * np.arange(n) / n)[:, None]
    # u = -psi_y with lap psi = zeta.
    u = np.fft.ifft2(1j * s.rows * s.inverse * zh, norm="forward").real
    energy, enstrophy = s.mean(s.inverse * zh, zh) / 2, s.mean(zh, zh) / 2
    assert_closed(
        energy,
        {
            "viscosity": -2 * nu * enstrophy,
            "drag": -2 * mu * energy,
            "forcing": (u * force * np.sin(k * y)).mean((1, 2)),
        },
        end,
    )
    assert_closed(
        enstrophy,
        {
            "viscosity": -nu * s.mean(s.k2 * zh, zh),
            "drag": -2 * mu * enstrophy,
            "forcing": (zeta * -force * k * np.cos(k * y)).mean((1, 2)),
        },
        end,
    )


def test_decaying_turbulence() -> None:
    n, nu, nu4, end = 48, 1e-2, 1e-4, 1.0
    s = Spectrum(n, 2 * math.pi)
    system = DecayingTurbulence(n, 64)
    system.rtol, system.atol = 1e-10, 1e-12
    zh = s.modes(solved(system, 5 * smooth(n, 2)[None], (nu, nu4), end)[:, 0])
    moment = lambda power: s.mean(s.k2**power * zh, zh)
    energy = {"viscosity": -nu * moment(0), "hyperviscosity": -nu4 * moment(1)}
    assert_closed(s.mean(s.inverse * zh, zh) / 2, energy, end)
    assert_closed(moment(0) / 2, {"viscosity": -nu * moment(1), "hyperviscosity": -nu4 * moment(2)}, end)


def test_barotropic_qg() -> None:
    n, end, mu = 48, 0.4, 0.05
    system, p = BarotropicQG(n, "hyperviscosity"), (10.0, mu, 2.0)
    s = Spectrum(n, 2 * math.pi)
    zh = s.modes(solved(system, 4 * smooth(n, 3, 6)[None], p, end, refine=4)[:, 0])
    fh = s.modes(system.forcing(torch.tensor(p, dtype=torch.float64)).numpy())
    energy, enstrophy = s.mean(s.inverse * zh, zh) / 2, s.mean(zh, zh) / 2
    lost = s.hyperviscosity(0.04) * zh
    assert_closed(
        energy,
        {"drag": -2 * mu * energy, "forcing": s.mean(s.inverse * zh, fh), "small scales": s.mean(s.inverse * zh, lost)},
        end,
    )
    assert_closed(
        enstrophy, {"drag": -2 * mu * enstrophy, "forcing": s.mean(zh, fh), "small scales": s.mean(zh, lost)}, end
    )


def test_equivalent_barotropic_qg() -> None:
    n, end, drag = 32, 4 * DAY, 1e-7
    latitude, c, gravity = 38.0, 2.7, 9.81
    s = Spectrum(n, n * 1e4)
    h = solved(EquivalentBarotropicQG(n, "hyperviscosity"), 0.05 * smooth(n, 4)[None], (latitude, c, drag), end, 4)[
        :, 0
    ]
    f = 2 * 7.2921e-5 * math.sin(math.radians(latitude))
    psih = gravity / f * s.modes(h)
    qh = -(s.k2 + (f / c) ** 2) * psih
    lost = s.hyperviscosity(7200.0) * qh
    energy = {"drag": -drag * s.mean(s.k2 * psih, psih), "small scales": -s.mean(psih, lost)}
    assert_closed(-s.mean(psih, qh) / 2, energy, end)
    enstrophy = {"drag": drag * s.mean(qh, s.k2 * psih), "small scales": s.mean(qh, lost)}
    assert_closed(s.mean(qh, qh) / 2, enstrophy, end)


def test_two_layer_qg_enstrophy() -> None:
    n, end = 32, 10 * DAY
    beta, rd, delta, shear, rek = 1e-11, 20e3, 0.25, 0.05, 5e-7
    s = Spectrum(n, 1e6)
    x = np.stack([5e-6 * smooth(n, 5, 4), 1e-6 * smooth(n, 6, 4)])
    qh = s.modes(solved(TwoLayerQG(n, "hyperviscosity"), x, (beta, rd, delta, shear, rek), end, 2))
    f1 = 1 / (rd**2 * (1 + delta))
    f2 = delta * f1
    q1, q2 = qh[:, 0], qh[:, 1]
    scale = s.k2 * (s.k2 + f1 + f2)
    scale = -np.where(scale > 0, 1 / np.where(scale > 0, scale, 1), 0)
    psi1, psi2 = scale * ((s.k2 + f2) * q1 + f1 * q2), scale * ((s.k2 + f1) * q2 + f2 * q1)
    upper, lower = delta / (1 + delta), 1 / (1 + delta)
    damping = s.hyperviscosity(7200.0)
    terms = {
        "upper gradient": -upper * (beta + f1 * shear) * s.mean(q1, 1j * s.columns * psi1),
        "lower gradient": -lower * (beta - f2 * shear) * s.mean(q2, 1j * s.columns * psi2),
        "drag": lower * rek * s.mean(q2, s.k2 * psi2),
        "small scales": upper * s.mean(q1, damping * q1) + lower * s.mean(q2, damping * q2),
    }
    assert_closed((upper * s.mean(q1, q1) + lower * s.mean(q2, q2)) / 2, terms, end)


@pytest.mark.parametrize("rd", [math.inf, 1e5])
def test_double_gyre(rd: float) -> None:
    n, length, end = 24, 1.28e6, 20 * DAY
    tau, viscosity, drag, beta = 0.4, 300.0, 1e-7, 1.754e-11
    h = length / (n + 1)
    inner = np.pi * np.arange(1, n + 1) / (n + 1)
    line = -((2 * np.sin(inner / 2) / h) ** 2)
    eigenvalues = line[:, None] + line
    transform = lambda f: scipy.fft.dstn(f, type=1, axes=(-2, -1), norm="ortho")
    total = lambda f: f.sum((-2, -1)) / (n + 1) ** 2

    vortices = 1e-5 * np.sin(inner)[:, None] * np.sin(2 * inner) + 5e-6 * np.sin(3 * inner)[:, None] * np.sin(inner)
    q = solved(DoubleGyre(n), vortices[None], (tau, viscosity, drag, beta, rd), end, 4)[:, 0]
    screening = rd**-2
    invert = lambda f: transform(transform(f) / (eigenvalues - screening))
    own, response = invert(q), screening * invert(np.ones((n, n)))
    # psi is phi, which vanishes on the walls, and its value there, by which the mean vanishes.
    wall = -total(own) / (1 + total(response))
    phi = own + wall[:, None, None] * response
    zeta = q + screening * (phi + wall[:, None, None])
    wide = np.pad(phi, ((0, 0), (1, 1), (1, 1)))
    gradient = (np.diff(wide, axis=-1) ** 2).sum((-2, -1)) + (np.diff(wide, axis=-2) ** 2).sum((-2, -1))
    energy = (gradient / length**2 + screening * (total(phi**2) - wall**2)) / 2
    curl = (-2 * np.pi * tau / (1000 * 400 * length) * np.sin(2 * inner))[:, None]
    bent = transform(eigenvalues * transform(zeta))
    assert_closed(
        energy,
        {"wind": -total(phi * curl), "viscosity": -viscosity * total(phi * bent), "drag": drag * total(phi * zeta)},
        end,
    )
    if math.isinf(rd):
        slope = (wide[:, 1:-1, 2:] - wide[:, 1:-1, :-2]) / (2 * h)
        terms = {
            "wind": total(zeta * curl),
            "viscosity": viscosity * total(zeta * bent),
            "drag": -drag * total(zeta**2),
            "beta": -beta * total(zeta * slope),
        }
        assert_closed(total(zeta**2) / 2, terms, end)
