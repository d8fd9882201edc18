from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import leads
from leads.adaptation.limits import Region, joint_p_values, ledoit_wolf
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily
from leads.errors import DataError, LimitsWarning, SettingsError


def square() -> torch.Tensor:
    axis = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    return torch.cartesian_prod(axis, axis)


def test_distance_to_a_square() -> None:
    """The seen contexts are a 3 x 3 grid on [-1, 1]^2: variance 6 / 8 along each axis."""
    region = Region.of(square())
    unit = 0.75**0.5
    points = torch.tensor([[0.0, 0.0], [1.0, 0.3], [2.0, 0.0], [0.0, -3.0], [0.9, 0.2]], dtype=torch.float64)
    expected = torch.tensor([-1.0, 0.0, 1.0, 2.0, -0.1], dtype=torch.float64) / unit
    torch.testing.assert_close(region.distance(points, None), expected)
    own = torch.diag(torch.tensor([3.0, 0.0], dtype=torch.float64)).expand(5, 2, 2)
    # Along the first axis the variance of the context itself, 3, adds to 0.75; across it, nothing.
    assert float(region.distance(points, own)[2]) == pytest.approx(1 / (0.75 + 3) ** 0.5)
    assert float(region.distance(points, own)[3]) == pytest.approx(2 / unit)


def test_distance_on_a_line_and_in_many_dimensions() -> None:
    line = Region.of(torch.tensor([[0.0], [1.0], [2.0], [3.0]]))
    spread = torch.tensor([0.0, 1, 2, 3]).var() ** 0.5
    expected = torch.tensor([1.0, -1.0, 2.0]) / spread
    torch.testing.assert_close(line.distance(torch.tensor([[4.0], [1.0], [-2.0]]), None), expected.double())
    many = torch.randn(10, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    region = Region.of(many)
    assert region.normals is None
    own = 0.5 * torch.eye(20, dtype=torch.float64).expand(3, 20, 20)
    x = torch.randn(3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    d = x - many.mean(0)
    exact = torch.einsum("ei,ij,ej->e", d, torch.linalg.inv(ledoit_wolf(many) + own[0]), d).sqrt()
    torch.testing.assert_close(region.distance(x, own), exact)


def test_shrinkage_is_ledoit_and_wolfs() -> None:
    sklearn = pytest.importorskip("sklearn.covariance")
    x = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 6)
    torch.testing.assert_close(ledoit_wolf(x), torch.from_numpy(sklearn.ledoit_wolf(x.numpy())[0]))


def test_p_values_of_one_score_are_ranks() -> None:
    held_out = torch.arange(1.0, 20.0)[:, None]
    p = joint_p_values(held_out, torch.tensor([[0.0], [10.5], [100.0], [float("nan")], [19.0]]))
    assert p.tolist() == [1.0, 10 / 20, 1 / 20, 1 / 20, 2 / 20]


def test_joint_p_values_keep_the_false_alarm_rate() -> None:
    """Two correlated scores, held-out environments drawn anew each time: P(p <= a) <= a."""
    g = torch.Generator().manual_seed(0)
    p = []
    for _ in range(1500):
        z = torch.randn(40, 2, dtype=torch.float64, generator=g) @ torch.tensor([[1.0, 0.7], [0.0, 0.7]]).double()
        p.append(joint_p_values(z[:39], z[39:]))
    p = torch.cat(p)
    for rate in (0.05, 0.1, 0.25):
        error = (rate * (1 - rate) / 1500) ** 0.5
        assert rate - 0.03 - 3 * error < float((p <= rate + 1e-12).double().mean()) < rate + 3 * error
    far = joint_p_values(torch.randn(39, 2, generator=g), torch.tensor([[0.0, 9.0], [9.0, 0.0], [0.0, 0.0]]))
    assert far[:2].max() <= 2 / 40 < far[2]


def test_alarms(coda: DecomposedDynamics, lotka: EnvironmentFamily) -> None:
    calibration = leads.calibrate(coda, *leads.held_out_environments(lotka, 60, truth=1, seed=1))
    inside = leads.adapt(coda, leads.held_out_environments(lotka, 60, truth=1, seed=2)[0])
    found = calibration.check(inside, warn=False)
    assert float(found.alarm.double().mean()) <= 0.15  # 5 % of 60, known from 60
    parameters = torch.tensor([[0.5, 0.3, 0.5, 0.3], [0.5, 0.75, 0.5, 0.75]], dtype=torch.float64)
    x0 = torch.tensor([[1.3, 1.6]], dtype=torch.float64)
    support = leads.simulate(lotka.system, parameters, x0, lotka.times, dtype=torch.float64)
    adapted = leads.adapt(coda, support)
    with pytest.warns(LimitsWarning, match="Environment 0 is outside what the model knows: its context lies"):
        report = calibration.check(adapted)
    with pytest.warns(LimitsWarning) as caught:
        adapted.bands(support.initial, support.times, calibration=calibration)
    assert [w.filename for w in caught] == [__file__]
    assert report.alarm.tolist() == [True, False]
    assert float(report.distance[0]) > 0 > float(report.distance[1])
    assert float(report.p_value[0]) < 0.05 < float(report.p_value[1])
    assert adapted.calibrated(calibration).warnings() == report.sentences()
    assert "Environment 0 is outside" in str(report)
    ordinary = leads.adapt(coda, support.select(environments=[1]))
    assert str(calibration.check(ordinary)).startswith("All 1 environments look like the seen ones")
    # What no dynamics of this family does: the context cannot tell, the residual does.
    jumping = replace(
        support,
        states=support.states + 0.5 * torch.randn(support.states.shape, generator=torch.Generator().manual_seed(0)),
    )
    strange = calibration.check(leads.adapt(coda, jumping), warn=False)
    assert bool(strange.alarm.all())
    assert float(strange.residual_rank.max()) == 0
    with pytest.raises(SettingsError, match="without the loss on their support"):
        calibration.check(leads.trained(coda))
    with pytest.raises(SettingsError, match="false alarm"):
        calibration.check(adapted, rate=5)


def test_without_a_table_half_of_the_environments_tell_the_region(
    coda: DecomposedDynamics, lotka: EnvironmentFamily
) -> None:
    model = leads.build("cavia_concat", lotka, backbone_settings={"width": 8})
    held_out = leads.held_out_environments(lotka, 20, truth=1, seed=1)
    settings = {"solver": "levenberg_marquardt", "iterations": 2}
    half = leads.calibrate(model, *held_out, **settings)
    assert half.residuals.shape == (10,)
    assert len(half.regions) == 1


def test_bad_regions() -> None:
    with pytest.raises(DataError, match="at least 2"):
        Region.of(torch.zeros(1, 2))
    with pytest.raises(DataError, match="all seen environments are the same"):
        Region.of(torch.ones(5, 2))
