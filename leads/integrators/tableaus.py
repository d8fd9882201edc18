"""Explicit Runge-Kutta methods as coefficient tables."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.integrate import DOP853, RK45

from leads.errors import SettingsError
from leads.registry import Registry


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method: stage i sits at ``t + c[i] h`` and starts from ``x + h sum_j a[i][j] k_j``.

    Where it can choose its own steps, ``error`` holds one or two rows of weights over all slopes and the slope at the
    step's end, which make its error estimate, and ``error_order`` the order that the controller takes this to have.
    Order 0 marks the one method without a time step: ``x + k`` is the next frame, whatever the distance to it.
    ``dense`` gives the solution within a step: one row a slope, one column a power 1, 2, ... of the part of the step.
    """

    name: str
    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    error: tuple[tuple[float, ...], ...] = ()
    error_order: int = 0
    dense: tuple[tuple[float, ...], ...] = ()


methods: Registry[Tableau] = Registry("integration method")


def _register(name: str, order: int, a: tuple[tuple[float, ...], ...], b: tuple[float, ...]) -> None:
    methods.register(name)(Tableau(name, order, a, b, tuple(sum(row) for row in a)))


_register("euler", 1, ((),), (1.0,))
_register("map", 0, ((),), (1.0,))
_register("midpoint", 2, ((), (1 / 2,)), (0.0, 1.0))
_register("heun", 2, ((), (1.0,)), (1 / 2, 1 / 2))
_register("bosh3", 3, ((), (1 / 2,), (0.0, 3 / 4)), (2 / 9, 1 / 3, 4 / 9))
_register("rk4", 4, ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))
_register("rk38", 4, ((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)), (1 / 8, 3 / 8, 3 / 8, 1 / 8))


def _of_scipy(name: str, source: type, errors: tuple[str, ...], dense: bool) -> None:
    s = source.n_stages  # type: ignore[attr-defined]
    rows = lambda matrix: tuple(tuple(map(float, row)) for row in matrix)  # noqa: E731
    a = rows(source.A[i, :i] for i in range(s))  # type: ignore[attr-defined]
    b, c = rows((source.B, source.C[:s]))  # type: ignore[attr-defined]
    estimate = rows(getattr(source, e) for e in errors)
    power = source.error_estimator_order  # type: ignore[attr-defined]
    within = rows(source.P) if dense else ()  # type: ignore[attr-defined]
    methods.register(name)(Tableau(name, source.order, a, b, c, estimate, power, within))  # type: ignore[attr-defined]


# Dormand and Prince (1980), order 5, and Hairer, Norsett and Wanner (1993), order 8: the coefficients are those of
# SciPy's public solver classes.
_of_scipy("dopri5", RK45, ("E",), dense=True)
_of_scipy("dop853", DOP853, ("E5", "E3"), dense=False)


def tableau(name: str) -> Tableau:
    """The method called ``name``: euler, midpoint, heun, bosh3, rk4 (classic), rk38 (torchdiffeq's "rk4"), dopri5,
    dop853; or map, the one-step map ``x + field(t, x)`` from frame to frame."""
    return methods[name]


def adaptive_tableau(name: str) -> Tableau:
    """A method that can choose its own steps: dopri5 or dop853.

    Raises:
        SettingsError: the method has no error estimate.
    """
    rule = tableau(name)
    if not rule.error:
        able = " or ".join(n for n in methods if methods[n].error)
        raise SettingsError(f"The method {name!r} has no error estimate and cannot choose its steps: take {able}.")
    return rule
