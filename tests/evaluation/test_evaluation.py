from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import leads
from leads.dynamics import DecomposedDynamics
from leads.errors import DataError, SettingsError, ShapeError
from leads.evaluation import Evaluation, Table, aggregate, figures, metrics, spread
from leads.evaluation.published import PUBLISHED, published
from leads.evaluation.report import RunReport, write_report
from leads.trajectories import DataSplits


def test_metrics_by_hand() -> None:
    truth = torch.tensor([[[[3.0], [4.0]]]])
    forecast = torch.tensor([[[[3.0], [2.0]]]])
    assert float(metrics["mse"](forecast, truth, None)) == 2
    assert float(metrics["rmse"](forecast, truth, None)) == pytest.approx(math.sqrt(2))
    assert float(metrics["relative_l2"](forecast, truth, None)) == pytest.approx(0.4)
    assert float(metrics["mape"](forecast, truth, None)) == pytest.approx(0.25)
    mask = torch.tensor([[[[True], [False]]]])
    assert all(float(metrics[n](forecast, truth, mask)) == 0 for n in metrics)
    with pytest.raises(ShapeError):
        metrics["mse"](forecast, truth[0], None)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 100), st.integers(0, 1000))
def test_scaling(factor: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(2, 3, 4, 1, dtype=torch.float64, generator=g) for _ in range(2))
    for name, power in (("mse", 2), ("rmse", 1), ("relative_l2", 0), ("mape", 0)):
        torch.testing.assert_close(
            metrics[name](factor * a, factor * b, None), factor**power * metrics[name](a, b, None)
        )


def test_spans_and_round_trip(coda: DecomposedDynamics, data: DataSplits) -> None:
    result = leads.evaluate(leads.trained(coda, data.train.parameters), data.test, horizon=5.0)
    assert set(result.scores) == {"all", "within", "beyond"}
    parts = 11 * result.scores["within"]["mse"] + 9 * result.scores["beyond"]["mse"]
    assert parts / 20 == pytest.approx(result.scores["all"]["mse"], rel=1e-5)
    assert sum(result.error_in_time) / 20 == pytest.approx(result.scores["all"]["mse"], rel=1e-5)
    assert Evaluation.from_dict(result.to_dict()) == result
    assert "beyond" in str(result)


def test_divergent_forecast_scores_infinity(coda: DecomposedDynamics, data: DataSplits) -> None:
    table = leads.trained(coda)
    broken = replace(table, contexts={"code": torch.full((9, 2), 1e20)})
    assert leads.evaluate(broken, data.test).scores["all"]["mse"] == math.inf


def test_wrong_environments_are_refused(coda: DecomposedDynamics, data: DataSplits) -> None:
    seen = leads.trained(coda, data.train.parameters)
    with pytest.raises(ShapeError, match="9 environments, the test data have 4"):
        leads.evaluate(seen, data.adapt_test)
    with pytest.raises(DataError, match="Match their order"):
        leads.evaluate(seen, data.test.select(environments=[*range(1, 9), 0]))
    with pytest.raises(SettingsError):
        leads.evaluate(seen, data.test, names=[])


def test_spread_over_seeds() -> None:
    s = spread([1.0, 2.0, 3.0])
    assert (s.mean, s.std, s.n) == (2, 1, 3)
    assert f"{s:.1f}" == "2.0 ± 1.0"
    assert f"{spread([1.5]):.1f}" == "1.5"
    with pytest.raises(DataError):
        aggregate([])


def test_tables() -> None:
    t = Table(["a_b", "x"], [["50 %", "1 ± 2"], ["p|q", "&"]])
    assert t.markdown().splitlines()[0] == "| a_b | x |"
    assert "p\\|q" in t.markdown()
    assert r"50 \% & 1 $\pm$ 2 \\" in t.latex()
    assert t.text().splitlines()[0].startswith("a_b")
    assert t.rich().row_count == 2
    with pytest.raises(ShapeError):
        Table(["a"], [["1", "2"]])


def test_published_figures() -> None:
    best = published("lotka_volterra", "coda", "adaptation")[0]
    assert (best.method, best.mean, best.spread) == ("CoDA-l1", pytest.approx(1.24e-5), pytest.approx(2.0e-6))
    gs = [p for p in published("gray_scott", "coda", "in-domain") if p.method == "CoDA-l1"]
    assert [p.mean for p in published("turbulence", "dyad") if p.method == "DyAd+ResNet"] == [0.42, 0.51]
    assert gs[0].mean == pytest.approx(9.0e-4)
    assert all(p.source and p.mean > 0 for p in PUBLISHED)
    foca = [p for p in published("gray_scott", "geps") if p.method == "FOCA"]
    assert [(p.protocol, p.mean) for p in foca] == [("adaptation", pytest.approx(0.145))]
    assert published("glycolytic_oscillator", "coda", "adaptation")[0].mean == pytest.approx(1.86e-4)
    assert published("kolmogorov", "geps", "in-domain")[0].method == "GEPS-Phy"
    assert {p.method for p in published("brusselator", "ncf")} == {"NCF-t2"}
    assert len({(p.method, p.family, p.split, p.protocol, p.source) for p in PUBLISHED}) == len(PUBLISHED)


def test_report_stands_alone(coda: DecomposedDynamics, data: DataSplits, tmp_path: Path) -> None:
    seen = leads.trained(coda, data.train.parameters)
    new = leads.adapt(coda, data.adapt)
    history = [
        {"step": i, "loss": 1.0 / i, "valid": 2.0 / i, "horizon": i, "lr": 1e-3, "seconds": i} for i in (1, 2, 3)
    ]
    run = RunReport(
        "a title", "lotka_volterra", "coda", "coda", [leads.evaluate(seen, data.test)],
        [leads.evaluate(new, data.adapt_test)], [history], seen, new, data.test, data.adapt_test, [1.0], {"seed": 0},
    )  # fmt: skip
    page = write_report([run], tmp_path / "r.html", adaptation=0).read_text()
    assert page.count("data:image/png;base64,") == 6
    assert 'src="http' not in page
    assert "href" not in page
    assert f"{run.in_domain[0].scores['all']['mse']:.2e}" in page
    assert "1.24e-05" in page
    with pytest.raises(SettingsError):
        write_report([], tmp_path / "r.html")


def test_field_figure() -> None:
    x = torch.rand(1, 1, 5, 2, 6, 7)
    truth = leads.Trajectories(x, torch.arange(5, dtype=torch.float64))
    assert len(figures.fields(x + 0.1, truth).axes) == 12 + 2
    with pytest.raises(ShapeError):
        figures.trajectories(x, truth)
