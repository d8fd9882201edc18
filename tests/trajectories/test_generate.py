from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import leads
from leads.environments import Budget, EnvironmentFamily
from leads.errors import DataError, FileError, SettingsError, UnknownNameError
from leads.trajectories import cache as cache_module
from leads.trajectories import simulate
from leads.trajectories.cache import write_whole


def small(family: EnvironmentFamily, **budget: int) -> EnvironmentFamily:
    return replace(family, budget=Budget(**{"train": 2, "test": 2, "valid": 1, "adapt": 1, "adapt_test": 2, **budget}))


def test_same_seed_same_bits_whatever_the_budget(lotka: EnvironmentFamily) -> None:
    a, b = leads.generate(small(lotka), cache=False), leads.generate(small(lotka, train=4), cache=False)
    assert torch.equal(a.train.states, b.train.states[:, :2])
    assert not torch.equal(a.train.states, leads.generate(small(lotka), seed=1, cache=False).train.states)


def test_published_initial_states(lotka: EnvironmentFamily) -> None:
    data = leads.generate(small(lotka), cache=False)
    np.random.seed(1)
    np.testing.assert_allclose(data.train.initial[0, 1].numpy(), np.random.uniform(1, 2, 2), rtol=1e-6)
    np.random.seed(2**31 - 1)
    np.testing.assert_allclose(data.test.initial[4, 0].numpy(), np.random.uniform(1, 2, 2), rtol=1e-6)
    assert torch.equal(data.train.initial[0], data.train.initial[5])
    assert torch.equal(data.adapt.initial[0, 0], data.train.initial[0, 0])
    sets = [data.train, data.valid, data.test]
    assert len({tuple(x) for s in sets for x in s.initial[0].tolist()}) == sum(s.n_trajectories for s in sets)


def test_exact_data_agree_with_scipy(lotka: EnvironmentFamily) -> None:
    data = leads.generate(small(lotka), cache=False, dtype=torch.float64)
    a, b, g, d = lotka.seen[3].tolist()
    rhs = lambda t, y: [a * y[0] - b * y[0] * y[1], d * y[0] * y[1] - g * y[1]]
    truth = solve_ivp(
        rhs, (0, 9.5), data.train.initial[3, 1].numpy(), method="DOP853", t_eval=lotka.times, rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(data.train.states[3, 1].numpy(), truth.y.T, atol=1e-9)


def test_published_fidelity_is_scipys_default(lotka: EnvironmentFamily) -> None:
    data = leads.generate(small(lotka), fidelity="published", cache=False, dtype=torch.float64)
    a, b, g, d = lotka.seen[3].tolist()
    rhs = lambda t, y: [a * y[0] - b * y[0] * y[1], d * y[0] * y[1] - g * y[1]]
    truth = solve_ivp(rhs, (0, 10), data.train.initial[3, 1].numpy(), t_eval=lotka.times)
    np.testing.assert_allclose(data.train.states[3, 1].numpy(), truth.y.T, atol=1e-12)


def test_published_labels_carry_the_known_error(lotka: EnvironmentFamily) -> None:
    family = small(lotka, test=32)
    a = leads.generate(family, fidelity="published", cache=False)
    b = leads.generate(family, cache=False)
    assert 9e-6 < float((a.test.states - b.test.states).square().mean()) < 1.1e-5


def test_cache_is_used_and_damage_is_repaired(lotka: EnvironmentFamily, tmp_path: Path) -> None:
    first = leads.generate(small(lotka), cache=tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 5
    stamp = [f.stat().st_mtime_ns for f in files]
    again = leads.generate(small(lotka), cache=tmp_path)
    assert [f.stat().st_mtime_ns for f in files] == stamp
    assert torch.equal(first.test.states, again.test.states)
    files[0].write_bytes(files[0].read_bytes()[:100])
    with pytest.warns(UserWarning, match="damaged"):
        leads.generate(small(lotka), cache=tmp_path)
    leads.generate(small(lotka), seed=3, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 10


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    write_whole(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.os, "fsync", full)
    with pytest.raises(FileError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_simulate_estimates_its_error(lotka: EnvironmentFamily) -> None:
    x0 = lotka.system.sample_x0(3, np.random.RandomState(0))
    data = simulate(lotka.system, lotka.sample(5, "inside", 0), x0, lotka.times)
    assert data.states.shape == (5, 3, 20, 2)
    assert 0 < data.attributes["error_estimate"] < 1e-8


def test_unknown_fidelity(lotka: EnvironmentFamily) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'published'"):
        leads.generate(lotka, fidelity="publishd")  # type: ignore[arg-type]


def test_initial_states_are_spun_up_once(lotka: EnvironmentFamily, tmp_path: Path) -> None:
    calls = []

    class Spun(type(lotka.system)):  # type: ignore[misc]
        def spin_up(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(len(x))
            return x + 1

    family = replace(small(lotka, valid=0), system=Spun())
    first = leads.generate(family, cache=tmp_path)
    leads.generate(family, cache=tmp_path)
    assert calls == [2, 2, 1]  # train, test, adapt; adapt_test starts from the states of test
    assert bool((first.train.initial >= 2).all())


def test_simulate_is_differentiable(lotka: EnvironmentFamily) -> None:
    x0 = lotka.system.sample_x0(2, np.random.RandomState(0)).requires_grad_()
    p = lotka.seen[:3].clone().requires_grad_()

    def end(p: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        return (
            leads.simulate(lotka.system, p, x0, lotka.times[:4], estimate_error=False).states[:, :, -1].square().sum()
        )

    grads = torch.autograd.grad(end(p, x0), [p, x0])
    for target, grad in ((p, grads[0]), (x0, grads[1])):
        direction = torch.randn(target.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 1e-5
        with torch.no_grad():
            sides = [end(*(v + s * direction if v is target else v for v in (p, x0))) for s in (1, -1)]
        assert float((grad * direction).sum()) == pytest.approx(float(sides[0] - sides[1]) / 2, rel=1e-6)


def test_error_estimates_are_honest(lotka: EnvironmentFamily) -> None:
    x0 = lotka.system.sample_x0(2, np.random.RandomState(0))
    single = leads.simulate(lotka.system, lotka.seen, x0.float(), lotka.times)
    exact = leads.simulate(lotka.system, lotka.seen, x0.float().double(), lotka.times)
    error = float((single.states.double() - exact.states).abs().max())
    assert single.attributes["error_estimate"] == pytest.approx(error, rel=0.2)
    burgers = leads.make("burgers", cells=64, fine=128)
    x0 = burgers.system.sample_x0(1, np.random.RandomState(0))
    times = torch.tensor([0.0, 0.09], dtype=torch.float64)
    rough = leads.simulate(burgers.system, burgers.unseen[2:3], x0, times)
    assert rough.attributes["error_estimate"] > 1e-3  # shocks far below a cell


def test_simulate_takes_arrays_and_refuses_what_it_cannot_use(lotka: EnvironmentFamily) -> None:
    x0, p = np.ones((2, 2)), lotka.seen.numpy()
    data = leads.simulate(lotka.system, p, x0, [0, 1, 2])  # type: ignore[arg-type]
    assert data.states.shape == (9, 2, 3, 2)
    with pytest.raises(SettingsError, match=r"Pass family\.system"):
        leads.simulate(lotka, p, x0, [0, 1])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="must be real"):
        leads.simulate(lotka.system, lotka.seen, torch.ones(2, 2).to(torch.complex64), lotka.times)
    with pytest.raises(DataError, match="array of numbers"):
        leads.simulate(lotka.system, lotka.seen, "ones", lotka.times)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 1000, 10**7, 0.5, True, "a"])
def test_seeds_whose_sets_would_overlap_are_refused(lotka: EnvironmentFamily, seed: int) -> None:
    with pytest.raises(SettingsError, match="no whole number from 0 to 999"):
        leads.generate(lotka, seed=seed)
