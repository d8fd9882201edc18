"""Maps from contexts to parameters against exact maps, refits and theory; sensitivities against the equations."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import leads
from leads.adaptation import ParameterMap, context_sensitivity, parameter_map, parameter_sensitivity
from leads.adaptation.maps import GaussianProcess, Polynomial
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily, Parameter
from leads.errors import DataError, SettingsError, ShapeError, UnknownNameError
from leads.trajectories import DataSplits

needs_sklearn = pytest.mark.skipif(not importlib.util.find_spec("sklearn"), reason="scikit-learn is not installed")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def physical() -> DecomposedDynamics:
    """The true equations; contexts are free numbers r, beta and delta = low + (high - low) sigmoid(r)."""
    known = {"family": "lotka_volterra", "fixed": {"alpha": 0.5, "gamma": 0.5}, "own": {"beta": 0.75, "delta": 0.75}}
    family = leads.make("lotka_volterra")
    return leads.build("aphynity", family, network=False, physics=known, substeps=4).double()


def contexts_of(values: Tensor) -> Tensor:
    """r of beta and delta."""
    low, high = 1e-5, 5.0
    return torch.logit((values - low) / (high - low))


def test_a_linear_map_is_found_exactly_and_constant_parameters_are_left_out() -> None:
    c, turn = normal(12, 2), normal(2, 2, seed=1)
    truth = torch.cat([c @ turn + 3.0, torch.full((12, 1), 0.5, dtype=torch.float64)], 1)
    specs = (Parameter("a", "m"), Parameter("b", "s"), Parameter("fixed"))
    found = ParameterMap(c, truth, specs, "linear")
    assert [p.name for p in found.specs] == ["a", "b"]
    assert found.columns == [0, 1]
    new = normal(5, 2, seed=2)
    estimate = found(new)
    torch.testing.assert_close(estimate.values, new @ turn + 3.0)
    assert float(estimate.std.max()) < 1e-12
    torch.testing.assert_close(found.jacobian(new), turn.mT.expand(5, 2, 2), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.inverse_jacobian(new), turn.mT.inverse().expand(5, 2, 2), rtol=1e-8, atol=1e-8)
    assert str(estimate).splitlines()[0].split() == ["environment", "a", "[m]", "b", "[s]"]


def test_the_context_covariance_is_pushed_through() -> None:
    c, turn = normal(12, 2), normal(2, 2, seed=1)
    root = normal(3, 2, 2, seed=3)
    covariance = root @ root.mT
    estimate = ParameterMap(c, c @ turn, kind="linear")(normal(3, 2, seed=2), covariance)
    torch.testing.assert_close(estimate.covariance, turn.mT @ covariance @ turn, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("degree", [1, 2])
def test_left_out_errors_equal_refits(degree: int) -> None:
    z, y = normal(14, 2).numpy(), normal(14, 3, seed=1).numpy()
    direct = []
    for i in range(14):
        kept = np.arange(14) != i
        direct.append(y[i] - Polynomial(z[kept], y[kept], degree).predict(z[[i]])[0][0])
    np.testing.assert_allclose(Polynomial(z, y, degree).left_out, direct, rtol=1e-8)


@needs_sklearn
def test_left_out_errors_of_a_gaussian_process_equal_refits() -> None:
    from sklearn.gaussian_process import GaussianProcessRegressor

    z = normal(12, 2).numpy()
    y = np.sin(z[:, :1]) + 0.05 * normal(12, 1, seed=1).numpy()
    fitted = GaussianProcess(z, y)
    scaled = (y[:, 0] - y.mean()) / y.std()
    direct = []
    for i in range(12):
        kept = np.arange(12) != i
        twin = GaussianProcessRegressor(fitted._processes[0].kernel_, alpha=1e-10, optimizer=None)
        direct.append((scaled[i] - twin.fit(z[kept], scaled[kept]).predict(z[[i]])[0]) * y.std())
    np.testing.assert_allclose(fitted.left_out[:, 0], direct, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["linear", pytest.param("gaussian_process", marks=needs_sklearn)])
def test_error_bars_cover_noise(kind: str) -> None:
    """Parameters with noise of 0.1 around a linear map: 90 % bars cover 90 % of new ones."""
    c = normal(60, 2)
    noisy = c @ normal(2, 1, seed=1) + 0.1 * normal(60, 1, seed=4)
    found = ParameterMap(c, noisy, kind=kind)
    new = normal(1000, 2, seed=2)
    truth = new @ normal(2, 1, seed=1) + 0.1 * normal(1000, 1, seed=5)
    estimate = found(new)
    covered = float(((estimate.values - truth).abs() < 1.645 * estimate.std).double().mean())
    assert 0.85 < covered < 0.95
    assert abs(float(found.errors[0]) - 0.1) < 0.03


def test_the_better_map_is_chosen() -> None:
    c = normal(20, 2)
    curved = (c[:, :1] ** 2 + c[:, 1:] * c[:, :1]) + c
    assert ParameterMap(c, curved).kind == "quadratic"
    wide = torch.cat([c, 1e-3 * normal(20, 9, seed=6)], 1)  # directions of mere noise
    found = ParameterMap(wide, c @ normal(2, 2, seed=1), kind="linear")
    assert found.directions >= 2
    assert float(found.errors.max()) < 0.02


def test_error_bars_are_calibrated(lotka: EnvironmentFamily, physical: DecomposedDynamics) -> None:
    values = lotka.sample(40, "inside", 0)
    exact = leads.Adapted(physical, {"physics": contexts_of(values[:, [1, 3]])}, None, values)
    found = parameter_map(physical, exact, family=lotka, kind="quadratic")
    shaken = {"physics": exact.contexts["physics"] + 0.05 * normal(40, 2, seed=1)}
    blurred = leads.Adapted(physical, shaken, None, values)
    before, after = found.predict(blurred), found.calibrated(blurred).predict(blurred)
    score = lambda e: float(((e.values - values[:, [1, 3]]) / e.std).square().mean())
    assert score(before) > 2
    assert 0.9 < score(after) < 1.1


def test_parameters_of_unseen_environments_are_recovered(
    lotka: EnvironmentFamily, data: DataSplits, coda: DecomposedDynamics
) -> None:
    adapted = leads.adapt(coda, data.adapt)
    for found in (
        parameter_map(coda, data=data.train),
        parameter_map(coda, family=lotka),
        parameter_map(coda, lotka.sample(20, "inside", 1), family=lotka),
    ):
        estimate = found.predict(adapted)
        assert estimate.names == ("beta", "delta")
        assert estimate.units == ("1/time", "1/time")
        error = (estimate.values / lotka.unseen[:, [1, 3]] - 1).abs()
        assert float(error.median()) < 0.05  # a model of 400 steps; benchmarks/adaptation/meaning.py has a trained one


def test_sensitivities_are_those_of_the_equations(lotka: EnvironmentFamily, physical: DecomposedDynamics) -> None:
    grid = torch.cartesian_prod(*(torch.linspace(0.7, 0.8, 4, dtype=torch.float64),) * 2)
    p = torch.tensor([[0.5, 0.72, 0.5, 0.77], [0.5, 0.75, 0.5, 0.71]], dtype=torch.float64)
    found = ParameterMap(contexts_of(grid), grid, (Parameter("beta"), Parameter("delta")), "quadratic")
    adapted = leads.Adapted(physical, {"physics": contexts_of(p[:, [1, 3]])})
    x0 = lotka.system.sample_x0(6, np.random.RandomState(0)).unflatten(0, (2, 3))
    by_context = context_sensitivity(adapted, x0, lotka.times)
    assert by_context.shape == (2, 2, 3, 20, 2)
    by_parameter = parameter_sensitivity(adapted, x0, lotka.times, found)
    scaled = parameter_sensitivity(adapted, x0, lotka.times, found, relative=True)
    for column, name in ((1, "beta"), (3, "delta")):
        h = 1e-5 * torch.eye(4, dtype=torch.float64)[column]
        up, down = (lotka.system.simulate(x0, p + s * h, lotka.times) for s in (1, -1))
        truth = (up - down) / 2e-5
        assert float((by_parameter[name] - truth).abs().max() / truth.abs().max()) < 1e-3
        value = p[:, column].reshape(2, 1, 1, 1)
        torch.testing.assert_close(scaled[name], by_parameter[name] * value, rtol=1e-4, atol=1e-6)


def test_bad_input(lotka: EnvironmentFamily, coda: DecomposedDynamics, data: DataSplits) -> None:
    c, p = normal(8, 2), normal(8, 2, seed=1)
    for wrong, error, text in (
        (lambda: ParameterMap(c, p[:7]), ShapeError, "same environments"),
        (lambda: ParameterMap(c[:3], p[:3]), DataError, "at least 4"),
        (lambda: ParameterMap(c, torch.ones(8, 2)), DataError, "No parameter varies"),
        (lambda: ParameterMap(torch.zeros(8, 2), p), DataError, "tell no environments apart"),
        (lambda: ParameterMap(c * torch.nan, p), DataError, "NaN"),
        (lambda: ParameterMap(c, p, kind="cubic"), UnknownNameError, "cubic"),
        (lambda: ParameterMap(c, p, (Parameter("a"),)), ShapeError, "1 parameters are named"),
        (lambda: ParameterMap(c[:4], p[:4], kind="quadratic"), SettingsError, "simulate more"),
        (lambda: ParameterMap(c, p)(c[:, :1]), ShapeError, "contexts of 2 values"),
        (lambda: parameter_map(coda), SettingsError, "true parameters"),
        (lambda: parameter_map(coda, "unseen"), UnknownNameError, "unseen"),
        (lambda: parameter_map(coda, lotka.seen), SettingsError, "family"),
        (lambda: ParameterMap.from_adapted(leads.Adapted(coda, {"code": c})), DataError, "without true parameters"),
    ):
        with pytest.raises(error, match=text):
            wrong()
    erm = leads.build("erm", data.train)
    with pytest.raises(SettingsError, match="no context"):
        context_sensitivity(leads.Adapted(erm, {}), data.adapt.initial, data.adapt.times)


def test_parameters_are_not_read_where_the_data_had_none(coda: DecomposedDynamics, data: DataSplits) -> None:
    adapted = leads.adapt(coda, replace(data.adapt, parameters=None))
    found = parameter_map(coda, data=data.train)
    assert torch.equal(found.predict(adapted).values, found.predict(leads.adapt(coda, data.adapt)).values)


def test_contexts_too_large_for_derivatives_are_refused(data: DataSplits) -> None:
    whole = leads.build("maml", data.train, backbone_settings={"width": 16})
    context = {k: v.expand(4, *v.shape) for k, v in whole.adapter.init_context().items()}
    with pytest.raises(SettingsError, match="smaller contexts"):
        context_sensitivity(leads.Adapted(whole, context), data.adapt.initial, data.adapt.times)
