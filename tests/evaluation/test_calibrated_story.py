"""The report's figures of error bars: their numbers are those of the evaluation, on environments drawn anew."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import leads
from leads.adaptation import Calibration
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily
from leads.evaluation import calibrated_story, reliability
from leads.evaluation.calibrated_story import OTHER, reliability_story
from leads.evaluation.report import RunReport, write_report
from leads.trajectories import DataSplits

pytestmark = pytest.mark.filterwarnings("ignore::leads.errors.LimitsWarning")


@pytest.fixture(scope="module")
def calibration(coda: DecomposedDynamics, lotka: EnvironmentFamily) -> Calibration:
    return leads.calibrate(coda, *leads.held_out_environments(lotka, 40, truth=2, noise=0.01, seed=5))


def test_the_figures_show_the_scores_of_fresh_environments(
    coda: DecomposedDynamics,
    lotka: EnvironmentFamily,
    data: DataSplits,
    calibration: Calibration,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new = leads.adapt(coda, data.adapt)
    story = reliability_story(new, calibration, lotka, budget=1e-6)
    assert not story.figures
    assert "0 s are left" in story.notes[0]
    monkeypatch.setattr(calibrated_story, "MOST", 25)
    story = reliability_story(new, calibration, lotka, budget=1e6)
    assert story.notes == []
    (first, _, curve), (second, _, lead) = story.figures
    n = int(re.search(r"on (\d+) fresh", first)[1])  # type: ignore[index]
    assert n == 25
    support, truth = leads.held_out_environments(lotka, n, truth=4, noise=0.01, seed=5 + OTHER)
    adapted = leads.adapt(coda, support)
    plain, held = reliability(adapted, truth), reliability(adapted, truth, calibration)
    assert list(curve.axes[0].lines[1].get_ydata()) == pytest.approx(plain.coverage)
    assert list(curve.axes[0].lines[2].get_ydata()) == pytest.approx(held.coverage)
    assert list(lead.axes[0].lines[2].get_ydata()) == pytest.approx(held.in_time)
    assert f"CRPS {held.crps:.3g}" in first
    assert f"interval score {held.interval_score:.3g} calibrated" in first
    assert "1 support trajectory each, noise 0.01" in first
    assert f"{sum(held.per_environment) / n:.1%} calibrated" in second


def test_without_a_calibration_the_page_says_how_to_get_one(
    coda: DecomposedDynamics,
    lotka: EnvironmentFamily,
    data: DataSplits,
    calibration: Calibration,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, new = leads.trained(coda, data=data.train), leads.adapt(coda, data.adapt)
    assert not reliability_story(new, None, lotka, budget=0).notes
    story = reliability_story(new, None, lotka)
    assert "leads calibrate RUN" in story.notes[0]
    rows = [{"step": i, "loss": 1.0, "valid": 2.0, "horizon": 1} for i in (1, 2)]
    run = RunReport(
        "t", "lotka_volterra", "coda", "coda", [leads.evaluate(seen, data.test)], [leads.evaluate(new, data.adapt_test)],
        [rows], seen, new, data.test, data.adapt_test, left_out=story.notes,
    )  # fmt: skip
    page = write_report([run], tmp_path / "r.html", adaptation=0).read_text()
    assert "Left out: coverage and reliability: the error bars of this run are not calibrated" in page
    monkeypatch.setattr(calibrated_story, "MOST", 20)
    drawn = reliability_story(new, calibration, lotka, budget=1e6).figures
    page = write_report([replace(run, left_out=(), more=drawn)], tmp_path / "r.html", adaptation=0).read_text()
    assert "Reliability on 20 fresh environments" in page
    assert "Left out" not in page
