"""Gray-Scott against an independent right-hand side solved by SciPy, and the order of fixed steps."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

import leads
from leads.integrators import integrate

SIZE, END = 16, 40.0
FEED, KILL = 0.039, 0.058


def smooth() -> np.ndarray:
    """A smooth state ``(2, SIZE, SIZE)`` in which the reaction runs."""
    angle = 2 * np.pi * np.arange(SIZE) / SIZE
    bump = np.exp(np.cos(angle[:, None]) + np.cos(angle + 1) - 2)
    return np.stack([1 - 0.6 * bump, 0.4 * bump])


def slopes(_: float, flat: np.ndarray) -> np.ndarray:
    u, v = flat.reshape(2, SIZE, SIZE)

    def laplacian(f: np.ndarray) -> np.ndarray:
        rows = np.roll(f, 1, 0) + np.roll(f, -1, 0)
        near = rows + np.roll(f, 1, 1) + np.roll(f, -1, 1)
        return near / 2 + (np.roll(rows, 1, 1) + np.roll(rows, -1, 1)) / 4 - 3 * f

    du = 0.2097 * laplacian(u) - u * v**2 + FEED * (1 - u)
    dv = 0.105 * laplacian(v) + u * v**2 - (FEED + KILL) * v
    return np.stack([du, dv]).ravel()


def simulated(x: np.ndarray, t: Tensor) -> Tensor:
    p = torch.tensor([[FEED, KILL]], dtype=torch.float64)
    return leads.make("gray_scott", size=SIZE).system.simulate(torch.from_numpy(x)[None, None], p, t)[0, 0]


def test_agrees_with_scipy() -> None:
    t = torch.tensor([0.0, END / 2, END], dtype=torch.float64)
    blocks = leads.make("gray_scott", size=SIZE).system.sample_x0(1, np.random.RandomState(0))[0].numpy()
    for x in (blocks, smooth()):
        run = solve_ivp(slopes, (0, END), x.ravel(), method="DOP853", t_eval=t.numpy(), rtol=1e-12, atol=1e-13)
        expected = torch.from_numpy(run.y.T.reshape(3, 2, SIZE, SIZE).copy())
        found = simulated(x, t)
        for channel in (0, 1):
            error = (found[:, channel] - expected[:, channel]).norm() / expected[:, channel].norm()
            assert float(error) < 1e-8
        assert float((expected[-1] - expected[0]).norm() / expected[0].norm()) > 0.1


def test_fixed_steps_converge_to_it_with_order_four() -> None:
    system = leads.make("gray_scott", size=SIZE).system
    p = torch.tensor([FEED, KILL], dtype=torch.float64)
    t = torch.tensor([0.0, END], dtype=torch.float64)
    x = torch.from_numpy(smooth())
    reference = simulated(smooth(), t)[-1]
    errors = [
        float((integrate(lambda s, y: system.rhs(s, y, p), x, t, method="rk4", substeps=n)[-1] - reference).norm())
        for n in (40, 80)
    ]
    assert abs(math.log2(errors[0] / errors[1]) - 4) < 0.3
