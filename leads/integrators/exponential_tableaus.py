"""Exponential Runge-Kutta methods as coefficient tables."""

from __future__ import annotations

from dataclasses import dataclass

from leads.registry import Registry

#: One coefficient as a function of z = h L: terms ``(scale, weights)`` that stand for ``sum_j weights[j] phi_j(scale z)``.
Terms = tuple[tuple[float, tuple[float, ...]], ...]


@dataclass(frozen=True)
class ExponentialTableau:
    """A method for ``u' = L u + N(t, u)``: stage i sits at ``t + c[i] h`` and is

        u_i = exp(c[i] z) u + h sum_j a[i][j](z) N(t + c[j] h, u_j),    z = h L,

    and the step ends in ``exp(z) u + h sum_j b[j](z) N_j``.
    """

    name: str
    order: int
    a: tuple[tuple[Terms, ...], ...]
    b: tuple[Terms, ...]
    c: tuple[float, ...]


exponential_methods: Registry[ExponentialTableau] = Registry("exponential integration method")


def _phi(scale: float, *weights: float) -> Terms:
    return ((scale, weights),)


def exponential_term(scale: float, weight: float) -> Terms:
    """``weight exp(scale z)``."""
    return ((scale, (weight,)),)


def _register(name: str, a: tuple[tuple[Terms, ...], ...], b: tuple[Terms, ...]) -> None:
    exponential_methods.register(name)(ExponentialTableau(name, 4, a, b, (0.0, 0.5, 0.5, 1.0)))


_END = (_phi(1, 0, 1, -3, 4), _phi(1, 0, 0, 2, -4), _phi(1, 0, 0, 2, -4), _phi(1, 0, 0, -1, 4))
_HALF = _phi(0.5, 0, 0.5)

# Cox and Matthews (2002), equations 26 to 29. Their third stage starts from the first one; written from u, its weight
# of the first slope is phi_1(z/2) (exp(z/2) - 1) / 2 = phi_1(z) - phi_1(z/2).
_register(
    "etdrk4",
    ((), (_HALF,), ((), _HALF), (_phi(1, 0, 1) + _phi(0.5, 0, -1), (), _phi(0.5, 0, 1))),
    _END,
)
# Krogstad (2005), ETDRK4-B: of stiff order 3 where Cox and Matthews' has 2.
_register(
    "krogstad4",
    (
        (),
        (_HALF,),
        (_phi(0.5, 0, 0.5, -1), _phi(0.5, 0, 0, 1)),
        (_phi(1, 0, 1, -2), (), _phi(1, 0, 0, 2)),
    ),
    _END,
)
# The classic Runge-Kutta method on exp(-L t) u (Lawson, 1967). Exact fixed points are not kept.
_register(
    "ifrk4",
    ((), (exponential_term(0.5, 0.5),), ((), exponential_term(0, 0.5)), ((), (), exponential_term(0.5, 1))),
    (
        exponential_term(1, 1 / 6),
        exponential_term(0.5, 1 / 3),
        exponential_term(0.5, 1 / 3),
        exponential_term(0, 1 / 6),
    ),
)
