"""Explicit Runge-Kutta methods as coefficient tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from leads.registry import Registry


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method: stage i sits at ``t + c[i] h`` and starts from ``x + h sum_j a[i][j] k_j``."""

    name: str
    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]


methods: Registry[Tableau] = Registry("integration method")


def _register(name: str, order: int, a: tuple[tuple[float, ...], ...], b: tuple[float, ...]) -> None:
    methods.register(name)(Tableau(name, order, a, b, tuple(sum(row) for row in a)))


_register("euler", 1, ((),), (1.0,))
_register("midpoint", 2, ((), (1 / 2,)), (0.0, 1.0))
_register("heun", 2, ((), (1.0,)), (1 / 2, 1 / 2))
_register("bosh3", 3, ((), (1 / 2,), (0.0, 3 / 4)), (2 / 9, 1 / 3, 4 / 9))
_register("rk4", 4, ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))
_register("rk38", 4, ((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)), (1 / 8, 3 / 8, 3 / 8, 1 / 8))


@cache
def tableau(name: str) -> Tableau:
    """The method called ``name``: euler, midpoint, heun, bosh3, rk4 (classic), rk38 (torchdiffeq's "rk4") or dop853."""
    if name == "dop853":
        return _dop853()
    return methods[name]


def _dop853() -> Tableau:
    """Dormand and Prince's method of order 8 (Hairer, Norsett, Wanner, 1993), from SciPy's public solver class."""
    from scipy.integrate import DOP853

    s = DOP853.n_stages
    a = tuple(tuple(float(v) for v in DOP853.A[i, :i]) for i in range(s))
    return Tableau("dop853", 8, a, tuple(map(float, DOP853.B)), tuple(map(float, DOP853.C[:s])))
