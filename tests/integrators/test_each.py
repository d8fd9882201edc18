from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from leads.errors import DataError, DivergenceError, SettingsError
from leads.integrators import compiled as compile_module
from leads.integrators import integrate_each, interpolate_each
from leads.integrators.attempts import make_attempt
from leads.integrators.compiled import cannot_compile, compiled

TIMES = torch.linspace(0, 6, 7, dtype=torch.float64)


def oscillator(t: torch.Tensor, x: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
    """Van der Pol, forced, with one stiffness a trajectory."""
    q, v = x.unbind(-1)
    return torch.stack([v, rate * (1 - q * q) * v - q + 0.3 * t], -1)


def start(n: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 2, dtype=torch.float64, generator=generator), torch.linspace(0.1, 5, n, dtype=torch.float64)


def scipy(x0: np.ndarray, rate: float, **settings: object) -> np.ndarray:
    rhs = lambda t, x: [x[1], rate * (1 - x[0] ** 2) * x[1] - x[0] + 0.3 * t]
    return solve_ivp(rhs, (0, 6), x0, t_eval=TIMES.numpy(), **settings).y.T


@pytest.mark.parametrize(("method", "tolerance"), [("dop853", 1e-11), ("dopri5", 1e-9)])
def test_agrees_with_scipy(method: str, tolerance: float) -> None:
    x0, rate = start()
    ours = integrate_each(oscillator, x0, TIMES, rate, method=method, rtol=tolerance, atol=tolerance * 1e-2)
    for b in range(len(x0)):
        truth = scipy(x0[b].numpy(), float(rate[b]), method="DOP853", rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(ours[:, b].numpy(), truth, atol=100 * tolerance)


def test_interpolated_steps_are_scipys_rk45() -> None:
    x0, rate = start()
    ours = interpolate_each(oscillator, x0, TIMES, 6.0, rate)
    for b in range(len(x0)):
        np.testing.assert_allclose(ours[:, b].numpy(), scipy(x0[b].numpy(), float(rate[b])), atol=1e-11)


def test_a_trajectory_does_not_see_its_neighbours() -> None:
    x0, rate = start(40)
    many = integrate_each(oscillator, x0, TIMES, rate)
    for b in (0, 17, 39):
        assert torch.equal(many[:, b], integrate_each(oscillator, x0[b : b + 1], TIMES, rate[b : b + 1])[:, 0])
    backwards = integrate_each(oscillator, x0.flip(0), TIMES, rate.flip(0))
    assert torch.equal(many, backwards.flip(1))


def test_trajectories_last() -> None:
    x0, rate = start()
    last = integrate_each(lambda t, x, r: oscillator(t, x.mT, r).mT, x0.mT.contiguous(), TIMES, rate, batch_last=True)
    torch.testing.assert_close(last.mT, integrate_each(oscillator, x0, TIMES, rate), rtol=1e-9, atol=1e-10)


def test_gradients_are_those_of_the_solution() -> None:
    """Of x' = -r x: dx/dr = -t x, dx/dx0 = exp(-r t)."""
    r = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    x0 = torch.tensor([[1.0], [2.0]], dtype=torch.float64, requires_grad=True)
    x = integrate_each(lambda t, x, r: -r[:, None] * x, x0, TIMES[:3], r)
    grads = torch.autograd.grad(x[2].sum(), [r, x0])
    decay = torch.exp(-2 * r.detach())
    torch.testing.assert_close(grads[0], -2 * decay * x0.detach()[:, 0], rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(grads[1][:, 0], decay, rtol=1e-8, atol=1e-9)


def test_a_blow_up_is_named() -> None:
    x0 = torch.tensor([[0.1], [2.0]], dtype=torch.float64)
    with pytest.raises(DivergenceError, match=r"Trajectory 1 blows up at t = 0\.5") as caught:
        integrate_each(lambda t, x: x**2, x0, TIMES[:3])
    assert caught.value.trajectory == 1


def test_a_trajectory_without_headway_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    x0, rate = start()
    stiff = torch.where(torch.arange(5) == 3, 1e5, rate)
    with pytest.raises(
        DivergenceError, match=r"Trajectory 3 got no further than t = .* in 200 attempted steps"
    ) as caught:
        integrate_each(oscillator, x0, TIMES, stiff, most_attempts=200)
    assert caught.value.trajectory == 3
    monkeypatch.setattr("leads.integrators.each.MOST_ATTEMPTS", 200)
    with pytest.raises(DivergenceError, match="Trajectory 3 got no further"):
        interpolate_each(oscillator, x0, TIMES, 6.0, stiff)


def test_one_frame_and_no_trajectories() -> None:
    x0, rate = start()
    assert torch.equal(integrate_each(oscillator, x0, TIMES[:1], rate)[0], x0)
    assert integrate_each(oscillator, x0[:0], TIMES, rate[:0]).shape == (7, 0, 2)


def test_bad_input() -> None:
    x0, rate = start()
    with pytest.raises(SettingsError, match="take dop853 or dopri5"):
        integrate_each(oscillator, x0, TIMES, rate, method="rk4")
    with pytest.raises(DataError, match="increase strictly"):
        integrate_each(oscillator, x0, TIMES.flip(0), rate)


@pytest.mark.skipif(cannot_compile() is not None, reason=f"cannot compile here: {cannot_compile()}")
def test_compiled_attempts_equal_plain_ones() -> None:
    x0, rate = start()
    run = compiled(make_attempt(oscillator, "dopri5"))
    fast = integrate_each(oscillator, x0, TIMES, rate, method="dopri5", attempt=run)
    torch.testing.assert_close(fast, integrate_each(oscillator, x0, TIMES, rate, method="dopri5"), rtol=1e-9, atol=1e-9)


def test_falls_back_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_module, "cannot_compile", lambda: "there is no C++ compiler")
    with pytest.warns(UserWarning, match="Running without compilation: there is no C"):
        assert compiled(abs) is abs


def test_falls_back_when_compilation_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: object, args: object) -> object:
        raise RuntimeError("unsupported operator\ndetails")

    monkeypatch.setattr(compile_module, "cannot_compile", lambda: None)
    monkeypatch.setattr(compile_module, "_program", broken)
    function, one = compiled(lambda x: x + 1), torch.tensor(1)
    with pytest.warns(UserWarning, match="which failed: unsupported operator$"):
        assert function(one) == 2
    assert function(one + 1) == 3
