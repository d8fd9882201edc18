from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import leads
from leads.environments import Budget, EnvironmentFamily, families
from leads.environments.gray_scott import GrayScott
from leads.errors import DataError, DivergenceError, SettingsError, ShapeError, UnknownNameError
from leads.integrators.compiled import cannot_compile
from leads.testing import check_system


@pytest.mark.parametrize("name", leads.list_families())
def test_contract(name: str) -> None:
    family = leads.make(name)
    # The raw draws of two-layer turbulence, before their spin-up, are rougher than what its step is made for.
    accuracy = 1e-5 if name == "two_layer_qg" else 1e-6
    check_system(family.system, family.seen[:2], family.times[:4], accuracy)


def test_contract_of_a_user_system(diffusion: EnvironmentFamily) -> None:
    check_system(diffusion.system, diffusion.seen, diffusion.times)


@pytest.mark.parametrize(
    ("name", "split", "seen", "unseen", "frames", "test_frames", "train"),
    [
        ("lotka_volterra", "coda", 9, 4, 20, 20, 4),
        ("lotka_volterra", "leads", 10, 4, 20, 20, 1),
        ("lotka_volterra", "geps", 8, 4, 20, 40, 4),
        ("gray_scott", "coda", 4, 4, 10, 10, 1),
        ("gray_scott", "leads", 3, 4, 10, 10, 1),
        ("gray_scott", "geps", 4, 4, 20, 40, 1),
    ],
)
def test_published_splits(
    name: str, split: str, seen: int, unseen: int, frames: int, test_frames: int, train: int
) -> None:
    f = leads.make(name, split=split)
    assert (len(f.seen), len(f.unseen), len(f.times), len(f.horizon_times)) == (seen, unseen, frames, test_frames)
    assert (f.budget.train, f.budget.test, f.budget.adapt) == (train, 32, 1)


def test_published_values() -> None:
    lv = leads.make("lotka_volterra")
    assert set(map(tuple, lv.seen[:, [1, 3]].tolist())) == {(b, d) for b in (0.5, 0.75, 1) for d in (0.5, 0.75, 1)}
    assert set(map(tuple, lv.unseen[:, [1, 3]].tolist())) == {(b, d) for b in (0.625, 1.125) for d in (0.625, 1.125)}
    assert lv.times[1] == 0.5
    gs = leads.make("gray_scott")
    assert set(map(tuple, gs.seen.tolist())) == {(f, k) for f in (0.03, 0.039) for k in (0.058, 0.062)}
    assert gs.times[-1] == 360


def test_gray_scott_initial_states_have_three_blocks() -> None:
    x = GrayScott(32).sample_x0(5, np.random.RandomState(0))
    assert set(x[:, 1].unique().tolist()) == {0.05, 1.0}
    assert bool(((x[:, 1] == 1).flatten(1).sum(1) <= 27).all())


@pytest.mark.parametrize("name", leads.list_families())
def test_fresh_environments(name: str) -> None:
    f = leads.make(name)
    low, high = (
        torch.tensor(f.distribution.low, dtype=torch.float64),
        torch.tensor(f.distribution.high, dtype=torch.float64),
    )
    inside, outside = f.sample(50, "inside", 3), f.sample(50, "outside", 3)
    assert bool(((inside >= low) & (inside <= high)).all())
    assert bool(((outside < low) | (outside > high)).any(1).all())
    f.system.check_parameters(outside)
    assert torch.equal(inside, f.sample(50, "inside", 3))


def test_bad_input(lotka: EnvironmentFamily) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'lotka_volterra'"):
        leads.make("lotka_voltera")
    with pytest.raises(UnknownNameError, match="Did you mean 'coda'"):
        leads.make("lotka_volterra", split="codas")
    with pytest.raises(SettingsError, match="unexpected keyword"):
        leads.make("lotka_volterra", spilt="coda")
    with pytest.raises(SettingsError, match="at least 10"):
        leads.make("gray_scott", size=4)
    with pytest.raises(DataError, match="beta of environment 1"):
        replace(lotka, seen=torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.5, -1.0, 0.5, 0.5]], dtype=torch.float64))
    with pytest.raises(ShapeError, match="alpha, beta"):
        lotka.system.check_parameters(torch.ones(2, 3))
    x0 = torch.ones(9, 1, 2, dtype=torch.float64)
    x0[3] = float("nan")
    with pytest.raises(DataError, match="NaN"):
        lotka.system.simulate(x0, lotka.seen, lotka.times)
    with pytest.raises(ShapeError, match="E, N, 2"):
        lotka.system.simulate(x0[0], lotka.seen, lotka.times)
    with pytest.raises(SettingsError, match="registered already"):
        families.register("lotka_volterra")(lambda: lotka)
    with pytest.raises(UnknownNameError):
        lotka.sample(2, "insde", 0)  # type: ignore[arg-type]


def test_grid_systems_are_solved_alike_whatever_stands_beside() -> None:
    system, p = GrayScott(12), leads.make("gray_scott").seen
    x0 = system.sample_x0(3, np.random.RandomState(0)).expand(4, 3, 2, 12, 12)
    t = torch.tensor([0.0, 5.0], dtype=torch.float64)
    many = system.simulate(x0, p, t)
    assert torch.equal(many[2:3, 1:2], system.simulate(x0[2:3, 1:2], p[2:3], t))
    system.compile = True
    torch.testing.assert_close(system.simulate(x0, p, t), many, rtol=1e-9, atol=1e-9)


def test_a_blow_up_names_environment_and_trajectory() -> None:
    class Explosion(GrayScott):
        def rates(self, t: torch.Tensor, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
            return 100 * p[0] * x**2

    x0 = torch.full((2, 200, 2, 10, 10), 0.01, dtype=torch.float64)
    x0[1, 150] = 1.0  # not in the first part that is solved together
    p = torch.tensor([[0.03, 0.06], [0.04, 0.06]], dtype=torch.float64)
    with pytest.raises(DivergenceError, match=r"Trajectory 150 of environment 1 \(F = 0.04, k = 0.06\) .* t = 0.25"):
        Explosion(10).simulate(x0, p, torch.tensor([0.0, 0.1, 1.0], dtype=torch.float64))


def test_one_parameter_shifts_alone() -> None:
    f = leads.make("lotka_volterra")
    low, high = (
        torch.tensor(f.distribution.low, dtype=torch.float64),
        torch.tensor(f.distribution.high, dtype=torch.float64),
    )
    drawn = f.sample(200, "shift", 0)
    beyond = (drawn < low) | (drawn > high)
    assert bool((beyond.sum(1) == 1).all())
    assert beyond.any(0).tolist() == [False, True, False, True]
    delta = f.sample(50, "shift", 0, parameter="delta")
    assert bool((((delta < low) | (delta > high)).nonzero()[:, 1] == 3).all())
    assert bool((delta[:, 3] < 0.5).any())
    assert bool((delta[:, 3] > 1.0).any())
    f.system.check_parameters(delta)
    with pytest.raises(SettingsError, match="can shift: beta, delta"):
        f.sample(1, "shift", 0, parameter="alpha")
    with pytest.raises(SettingsError, match="no parameter 'betta'"):
        f.sample(1, "shift", 0, parameter="betta")
    with pytest.raises(SettingsError, match="split='shift' alone"):
        f.sample(1, "inside", 0, parameter="beta")


def test_frames_are_an_argument_of_every_family() -> None:
    f = leads.make("gray_scott", frames=5)
    assert f.times.tolist() == [0, 40, 80, 120, 160]
    assert len(f.horizon_times) == 10
    assert leads.make("gray_scott", frames=12).horizon_times[-1] == 440
    assert len(leads.make("pendulum", frames=30, test_frames=40).horizon_times) == 40
    assert leads.make("gray_scott", **f.arguments).times.tolist() == f.times.tolist()
    for wrong in (-3, 0, 1, 2.5, "x"):
        with pytest.raises(SettingsError, match="frames"):
            leads.make("gray_scott", frames=wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="end before training"):
        leads.make("gray_scott", frames=12, test_frames=11)


def test_bad_values_are_settings_errors(lotka: EnvironmentFamily) -> None:
    with pytest.raises(SettingsError, match="whole number of at least 10"):
        leads.make("gray_scott", size="abc")
    for split in (3, None, ["coda"]):
        with pytest.raises(UnknownNameError, match="has no split"):
            leads.make("lotka_volterra", split=split)
    with pytest.raises(SettingsError, match="train must be a whole number"):
        Budget(train=-1, test=2)
    for n, generator in ((2.5, 0), (2, -1), (2, np.random.default_rng(0)), (2, torch.Generator())):
        with pytest.raises(SettingsError, match="sample"):
            lotka.sample(n, "inside", generator)  # type: ignore[arg-type]
    x0 = torch.ones(3, 1, 2, dtype=torch.float64)
    with pytest.raises(ShapeError, match="cover 3 environments"):
        lotka.system.simulate(x0, lotka.seen[:2], lotka.times)
    with pytest.raises(SettingsError, match="refine"):
        lotka.system.simulate(x0, lotka.seen[:3], lotka.times, refine=0)
    with pytest.raises(DataError, match="float32 or float64"):
        lotka.system.simulate(x0.half(), lotka.seen[:3], lotka.times)


def test_navier_stokes_names_the_one_that_blows_up_and_does_not_mix_neighbours() -> None:
    system, p = leads.make("navier_stokes", size=8).system, leads.make("navier_stokes").seen[:2]
    raw = system.sample_x0(4, np.random.RandomState(0))
    x0 = raw.expand(2, 4, 1, 8, 8).clone()
    x0[1, 2] *= 1e150
    with pytest.raises(DivergenceError, match=r"Trajectory 2 of environment 1 \(nu = 0.0009"):
        system.simulate_published(x0, p, torch.tensor([0.0, 0.02], dtype=torch.float64))
    system.spin_up_until = 0.05
    assert torch.equal(system.spin_up(raw)[1:2], system.spin_up(raw[1:2]))


@pytest.mark.skipif(cannot_compile() is not None, reason=f"cannot compile here: {cannot_compile()}")
def test_compiled_ordinary_systems_equal_plain_ones(lotka: EnvironmentFamily, monkeypatch: pytest.MonkeyPatch) -> None:
    x0 = lotka.system.sample_x0(3, np.random.RandomState(0)).expand(9, 3, 2)
    plain = lotka.system.simulate(x0, lotka.seen, lotka.times)
    fast = type(lotka.system)()
    fast.compile = True
    torch.testing.assert_close(fast.simulate(x0, lotka.seen, lotka.times), plain, rtol=1e-11, atol=1e-12)
    # The predator dies out, the prey falls without end and makes the predator ever stiffer.
    doomed = x0.clone()
    doomed[4, 1] = -1.0
    monkeypatch.setattr("leads.integrators.each.MOST_ATTEMPTS", 300)
    late = torch.tensor([0.0, 10.0, 60.0], dtype=torch.float64)
    for system in (lotka.system, fast):
        with pytest.raises(DivergenceError, match="Trajectory 1 of environment 4"):
            system.simulate(doomed, lotka.seen, late)
