from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch

from leads.errors import DataError, SettingsError, ShapeError, UnknownNameError
from leads.integrators import integrate
from leads.integrators.exponential import exponential_coefficients, integrate_exponential
from leads.integrators.exponential_tableaus import exponential_methods
from leads.integrators.phi import phi_sum
from leads.numerics import SpectralGrid, advection

METHODS = pytest.mark.parametrize("method", list(exponential_methods))
F64, C128 = torch.float64, torch.complex128
ARGUMENTS = [0, 1e-9, -1e-9, 1e-3, 0.999, -0.999, 1, -1, 2.5, -50, -1e4]
COMPLEX = [*ARGUMENTS, 30j, 1j, 0.7 - 0.7j, -1e-9j, -1e4j, -20 + 30j]


def exact_phi(j: int, z: complex) -> mpmath.mpc:
    with mpmath.workdps(60):
        z = mpmath.mpmathify(z)
        if z == 0:
            return 1 / mpmath.factorial(j)
        return (mpmath.exp(z) - mpmath.fsum(z**i / mpmath.factorial(i) for i in range(j))) / z**j


def slope(steps: list[int], errors: list[float]) -> float:
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


@pytest.mark.parametrize("weights", [(0.0, 1.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0), (0.5, 1.0, -2.0)])
@pytest.mark.parametrize("arguments", [ARGUMENTS, COMPLEX], ids=["real", "complex"])
def test_phi_functions_against_mpmath(weights, arguments) -> None:
    z = torch.tensor(arguments, dtype=C128 if arguments is COMPLEX else F64)
    got = phi_sum(z, weights)
    for argument, value in zip(z.tolist(), got.tolist(), strict=True):
        terms = [w * exact_phi(j, argument) for j, w in enumerate(weights) if w]
        error = abs(mpmath.mpmathify(value) - mpmath.fsum(terms))
        assert error < 4e-15 * max(abs(t) for t in terms) + 1e-300, argument


@pytest.mark.parametrize("arguments", [ARGUMENTS, COMPLEX], ids=["real", "complex"])
def test_weights_of_the_last_stage_against_mpmath(arguments) -> None:
    """Kassam and Trefethen's alpha, beta and gamma, relative to themselves: also where they are small."""
    h = 0.3
    linear = torch.tensor(arguments, dtype=C128 if arguments is COMPLEX else F64) / h
    got = exponential_coefficients("etdrk4", linear, h)
    for i, z in enumerate((h * linear).tolist()):
        with mpmath.workdps(60):
            p1, p2, p3 = (exact_phi(j, z) for j in (1, 2, 3))
            exact = [p1 - 3 * p2 + 4 * p3, 2 * p2 - 4 * p3, 2 * p2 - 4 * p3, 4 * p3 - p2]
            for weight, b in zip(got.b, exact, strict=True):
                assert abs(mpmath.mpmathify(weight[i].item()) - h * b) < 3e-14 * abs(h * b), z
            half = mpmath.exp(mpmath.mpmathify(z) / 2)
            nested = h * exact_phi(1, z / 2) * (half - 1) / 2
            assert abs(mpmath.mpmathify(got.a[3][0][i].item()) - nested) < 1e-15 * h + 4e-15 * abs(nested), z


@METHODS
def test_without_stiffness_the_methods_are_the_classic_one(method) -> None:
    field = lambda t, u: torch.sin(u.flip(-1)) + torch.cos(t)
    x0 = torch.tensor([0.3, -1.2], dtype=F64)
    times = torch.linspace(0, 2, 5, dtype=F64)
    got = integrate_exponential(field, torch.zeros(2, dtype=F64), x0, times, method=method)
    torch.testing.assert_close(got, integrate(field, x0, times), rtol=1e-13, atol=1e-13)


@METHODS
def test_linear_systems_are_exact(method) -> None:
    rates = torch.tensor([0, -1e-9, -3.0, -1e5, 20j, -2 + 1e3j], dtype=C128)
    x0 = torch.full((6,), 1 + 1j, dtype=C128)
    times = torch.tensor([0.0, 0.1, 0.35, 2.0], dtype=F64)
    got = integrate_exponential(lambda t, u: torch.zeros_like(u), rates, x0, times, method=method, substeps=3)
    torch.testing.assert_close(got, x0 * torch.exp(times[:, None] * rates), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("method", ["etdrk4", "krogstad4"])
def test_constant_forcing_is_exact(method) -> None:
    rates = torch.tensor([-1e-12, -0.5, -40.0, -1e6], dtype=F64)
    force = torch.tensor([1.0, -2.0, 3.0, 4.0], dtype=F64)
    times = torch.tensor([0.0, 0.7, 1.0], dtype=F64)
    got = integrate_exponential(lambda t, u: force, rates, torch.ones(4, dtype=F64), times, method=method, substeps=2)
    grown = torch.expm1(times[:, None] * rates) / rates
    torch.testing.assert_close(got, torch.exp(times[:, None] * rates) + grown * force, rtol=1e-12, atol=1e-14)


@METHODS
def test_order_four_on_bernoulli_equations(method) -> None:
    """u' = L u - u^2 with real, oscillating and vanishing L at once; exact solution by separation."""
    rates = torch.tensor([-1.0, 0.0, -4.0 + 3.0j, 5j, 2.0], dtype=C128)
    x0 = torch.tensor([0.8, 0.5, 1.0 + 0.5j, 0.6, 0.3], dtype=C128)
    grown = torch.where(rates == 0, 1, (torch.exp(rates) - 1) / torch.where(rates == 0, 1, rates))
    exact = x0 * torch.exp(rates) / (1 + x0 * grown)
    steps, errors = [32, 64, 128], []
    for n in steps:
        end = integrate_exponential(
            lambda t, u: -(u**2), rates, x0, torch.tensor([0.0, 1.0], dtype=F64), method=method, substeps=n
        )[-1]
        errors.append((end - exact).abs())
    for each in torch.stack(errors).T.tolist():
        assert slope(steps, each) > 3.7, (method, each)
    assert float(errors[-1].max()) < 2e-9


@METHODS
def test_order_four_in_time_dependent_forcing(method) -> None:
    """u' = -u/2 + t^3 - cos(3 t) u: the stages' times count; reference by a solver of order 8."""
    field = lambda t, u: t**3 - torch.cos(3 * t) * u
    x0, times = torch.ones(1, dtype=F64), torch.tensor([0.0, 2.0], dtype=F64)
    linear = torch.tensor([-0.5], dtype=F64)
    exact = integrate(lambda t, u: linear * u + field(t, u), x0, times, method="dop853", substeps=100)[-1]
    steps, errors = [10, 20, 40], []
    for n in steps:
        got = integrate_exponential(field, linear, x0, times, method=method, substeps=n)[-1]
        errors.append(float((got - exact).abs()))
    assert slope(steps, errors) > 3.8, errors


def burgers(nu: float, points: int = 64):
    """Viscous Burgers on [0, 2 pi] with the Cole-Hopf solution of 2 nu sin(x) / (a + exp(-nu t) cos(x))."""
    grid = SpectralGrid((points,), (2 * math.pi,))
    x, d = grid.coordinates(0), grid.derivative(0)
    exact = lambda t: 2 * nu * torch.sin(x) * math.exp(-nu * t) / (2.5 + math.exp(-nu * t) * torch.cos(x))
    return grid, exact, lambda t, uh: -0.5 * d * grid.forward(grid.inverse(uh).square()), nu * grid.laplacian


@METHODS
def test_order_four_on_stiff_burgers(method) -> None:
    """The largest |h L| runs from 500 to 2000, where rk4 could take 2.8; dissipation is what makes the order visible."""
    nu = 1.0
    grid, exact, nonlinear, linear = burgers(nu, 64)
    times = torch.tensor([0.0, 1.0], dtype=F64)
    steps, errors = [4, 8, 16], []
    for n in steps:
        end = integrate_exponential(nonlinear, linear, grid.forward(exact(0.0)), times, method=method, substeps=n)[-1]
        errors.append(float((grid.inverse(end) - exact(1.0)).abs().max()))
    assert slope(steps, errors) > 3.5, errors
    assert errors[-1] < 2e-5


@pytest.mark.parametrize(("method", "bound"), [("etdrk4", 4e-9), ("krogstad4", 1.5e-9), ("ifrk4", 5e-7)])
def test_kuramoto_sivashinsky_converges_at_order_four(method, bound) -> None:
    """Kassam and Trefethen's problem, shortened; all methods go to one limit, which a classic method confirms."""
    grid = SpectralGrid((64,), (16 * math.pi,))
    k2, d = grid.k2, grid.derivative(0)
    linear = k2 - k2**2
    nonlinear = lambda t, uh: -0.5 * d * grid.dealias * grid.forward(grid.inverse(uh).square())
    x = grid.coordinates(0)
    u0 = grid.forward(torch.cos(x / 8) * (1 + torch.sin(x / 8)))
    times = torch.tensor([0.0, 10.0], dtype=F64)
    exact = integrate_exponential(nonlinear, linear, u0, times, method="krogstad4", substeps=2000)[-1]
    steps, errors = [160, 320, 640], []
    for n in steps:
        end = integrate_exponential(nonlinear, linear, u0, times, method=method, substeps=n)[-1]
        errors.append(float(grid.inverse(end - exact).abs().max()))
    assert slope(steps, errors) > 3.55, errors
    assert errors[-1] < bound
    if method == "etdrk4":
        classic = integrate(lambda t, u: linear * u + nonlinear(t, u), u0, times, substeps=1500)[-1]
        torch.testing.assert_close(grid.inverse(exact), grid.inverse(classic), rtol=0, atol=1e-7)


def vorticity_equation(grid: SpectralGrid):
    g = grid
    return lambda t, qh: -advection(g, g.inverse_laplacian.to(qh.dtype) * qh, qh)


@METHODS
def test_taylor_green_vortices_decay_exactly(method) -> None:
    """The advection vanishes, so vorticity decays as exp(-nu |k|^2 t), each environment with its own viscosity."""
    grid = SpectralGrid((16, 24), (2 * math.pi, 4 * math.pi))
    y, x = torch.meshgrid(grid.coordinates(0), grid.coordinates(1), indexing="ij")
    q0 = torch.cos(2 * y) * torch.cos(1.5 * x)
    nu = torch.tensor([0.01, 0.1, 1.0], dtype=F64)[:, None, None]
    times = torch.tensor([0.0, 0.5, 1.2], dtype=F64)
    got = integrate_exponential(
        vorticity_equation(grid), nu * grid.laplacian, grid.forward(q0.expand(3, 16, 24)), times, method=method
    )
    expected = torch.exp(-nu * 6.25 * times[:, None, None, None]) * q0
    torch.testing.assert_close(grid.inverse(got), expected, rtol=0, atol=1e-13)


def test_two_dimensional_turbulence_keeps_its_budgets() -> None:
    """dE/dt = -2 nu Z along a random flow, and both are conserved without viscosity, to the order of the steps."""
    grid = SpectralGrid((24, 24), (2 * math.pi, 2 * math.pi))
    white = torch.randn(2, 24, 24, dtype=F64, generator=torch.Generator().manual_seed(0))
    q0 = grid.forward(white) * grid.dealias * torch.exp(-grid.k2 / 8) * (grid.k2 > 0) * 6
    energy = lambda qh: -0.5 * grid.inner(grid.inverse_laplacian * qh, qh)
    enstrophy = lambda qh: 0.5 * grid.inner(qh, qh)
    nu = torch.tensor([0.0, 0.05], dtype=F64)[:, None, None]
    times = torch.linspace(0, 1, 21, dtype=F64)
    states = integrate_exponential(vorticity_equation(grid), nu * grid.laplacian, q0, times, method="krogstad4")
    e, z = energy(states), enstrophy(states)
    drift = [float((v[:, 0] / v[0, 0] - 1).abs().max()) for v in (e, z)]
    assert max(drift) < 1e-5, drift
    weights = torch.ones(21, dtype=F64)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    work = -2 * 0.05 * (weights @ z[:, 1]) * 0.05 / 3
    assert float(e[-1, 1] - e[0, 1]) == pytest.approx(float(work), rel=1e-5)
    assert float((states[-1, 0] - states[0, 0]).abs().max()) > 0.1 * float(states[0, 0].abs().max())


@METHODS
def test_batch_equals_loop_with_parameters_of_each_environment(method) -> None:
    grid = SpectralGrid((16,), (1.0,))
    nu = torch.tensor([0.01, 0.1, 0.5], dtype=F64)
    speed = torch.tensor([0.0, 1.0, -2.0], dtype=F64)
    linear = nu[:, None, None] * grid.laplacian - speed[:, None, None] * grid.derivative(0)
    nonlinear = lambda t, uh: torch.cos(t) * grid.forward(torch.tanh(grid.inverse(uh)))
    x0 = grid.forward(torch.randn(3, 2, 16, dtype=F64, generator=torch.Generator().manual_seed(0)))
    times = torch.tensor([0.0, 0.1, 0.15], dtype=F64)
    solve = lambda lin, x: integrate_exponential(nonlinear, lin, x, times, method=method, max_step=0.04)
    both = solve(linear, x0)
    loop = torch.stack([torch.stack([solve(lin[0], x) for x in xs], 1) for lin, xs in zip(linear, x0, strict=True)], 1)
    torch.testing.assert_close(both, loop, rtol=1e-12, atol=1e-13)
    mapped = torch.vmap(solve, out_dims=1)(linear, x0)
    torch.testing.assert_close(mapped, both, rtol=1e-12, atol=1e-13)


@METHODS
@pytest.mark.parametrize("kind", [F64, C128], ids=["real", "complex"])
def test_gradients(method, kind) -> None:
    """To the state, the linear part (0 and tiny entries too) and a parameter of the nonlinear part."""
    linear = torch.tensor([0.0, 1e-9, -0.7, -30.0], dtype=F64).to(kind)
    if kind == C128:
        linear = linear + 1j * torch.tensor([0.0, 0.0, 2.0, -5.0], dtype=F64)
    x0 = torch.tensor([0.5, -0.2, 0.9, 1.1], dtype=F64).to(kind)
    gain = torch.tensor(0.3, dtype=F64)
    times = torch.tensor([0.0, 0.2, 0.5], dtype=F64)

    def solve(lin: torch.Tensor, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return integrate_exponential(lambda t, u: g * u * u.roll(1, -1), lin, x, times, method=method, substeps=2)

    inputs = tuple(v.clone().requires_grad_() for v in (linear, x0, gain))
    assert torch.autograd.gradcheck(solve, inputs, fast_mode=True)
    tangents = tuple(torch.ones_like(v) for v in (linear, x0, gain))
    _, forward = torch.func.jvp(solve, (linear, x0, gain), tangents)
    h = 1e-6
    ahead, behind = (solve(*(v + s * d for v, d in zip((linear, x0, gain), tangents, strict=True))) for s in (h, -h))
    torch.testing.assert_close(forward, (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-8)


def test_coefficients_are_made_once_for_equal_steps(monkeypatch) -> None:
    from leads.integrators import exponential

    made = []
    original = exponential.exponential_coefficients
    monkeypatch.setattr(exponential, "exponential_coefficients", lambda *a: made.append(a[2]) or original(*a))
    solve = lambda times: integrate_exponential(lambda t, u: -(u**2), torch.tensor([-1.0]), torch.ones(1), times)
    solve(1000.0 + torch.arange(50, dtype=F64) * 0.1)
    assert len(made) == 1
    made.clear()
    solve(torch.tensor([0.0, 1.0, 3.0, 4.0, 6.0, 6.1], dtype=F64))
    assert made == pytest.approx([1.0, 2.0, 0.1])


def test_single_precision_and_time_of_complex_states() -> None:
    kinds = set()

    def nonlinear(t: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        kinds.add((t.dtype, t.shape))
        return -(u**2)

    linear = torch.tensor([-1.0, -2e4, 1e-6], dtype=torch.float32)
    x0 = torch.full((3,), 0.5, dtype=torch.complex64)
    got = integrate_exponential(nonlinear, linear, x0, torch.tensor([0.0, 1.0]), substeps=10)
    assert got.dtype == torch.complex64
    assert kinds == {(torch.float32, torch.Size([]))}
    double = integrate_exponential(
        lambda t, u: -(u**2), linear.double(), x0.to(C128), torch.tensor([0.0, 1.0]), substeps=10
    )
    torch.testing.assert_close(got.to(C128), double, rtol=1e-6, atol=1e-7)


def test_filter_acts_once_a_step() -> None:
    damp = torch.tensor([1.0, 0.5], dtype=F64)
    got = integrate_exponential(
        lambda t, u: torch.zeros_like(u), torch.zeros(2, dtype=F64), torch.ones(2, dtype=F64), torch.arange(3.0),
        substeps=2, filter=damp,
    )  # fmt: skip
    torch.testing.assert_close(got, damp ** (2 * torch.arange(3.0, dtype=F64))[:, None])


def test_max_step_divides_intervals() -> None:
    calls = []
    integrate_exponential(
        lambda t, u: calls.append(1) or -u, torch.zeros(1), torch.ones(1), torch.tensor([0.0, 1.0, 1.5]), max_step=0.3
    )
    assert len(calls) == 4 * (4 + 2)


def test_bad_input() -> None:
    x, zero = torch.ones(2, 3), lambda t, u: 0 * u

    def solve(linear: torch.Tensor | None = None, times: torch.Tensor | None = None, **settings: object) -> None:
        linear = torch.zeros(3) if linear is None else linear
        integrate_exponential(zero, linear, x, torch.arange(2.0) if times is None else times, **settings)

    with pytest.raises(UnknownNameError, match="etdrk4"):
        solve(method="etdrk5")
    with pytest.raises(DataError, match=r"times\[2\]"):
        solve(times=torch.tensor([0.0, 1.0, 1.0]))
    with pytest.raises(ShapeError):
        solve(times=torch.zeros(2, 2))
    with pytest.raises(SettingsError):
        solve(substeps=0)
    with pytest.raises(SettingsError):
        solve(max_step=0.0)
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        solve(linear=torch.zeros(2))
    with pytest.raises(ShapeError, match="broadcast"):
        solve(linear=torch.zeros(5, 2, 3))
    with pytest.raises(SettingsError, match="complex states"):
        solve(linear=torch.zeros(3, dtype=torch.complex64))
