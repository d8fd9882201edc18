"""Curves and maps of adaptation against single adaptations written out; the report's section and its budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import leads
from leads.adaptation import Estimate
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily, Parameter
from leads.errors import SettingsError, ShapeError, UnknownNameError
from leads.evaluation.adaptation_curves import ObservationCurve, error_against_observations, error_against_time
from leads.evaluation.figures import training_curves
from leads.evaluation.meaning import recovered, sensitivities
from leads.evaluation.plane import ParameterPlane, error_over_plane
from leads.evaluation.report import RunReport, write_report
from leads.evaluation.story import adaptation_story, family_of
from leads.trajectories import DataSplits
from leads.trajectories.generate import draw_states


def several(family: EnvironmentFamily, n: int = 3) -> leads.Trajectories:
    x0 = draw_states(family.system, range(n))
    return leads.simulate(family.system, family.unseen, x0, family.times, estimate_error=False, dtype=torch.float32)


def test_error_against_observations_is_that_of_single_adaptations(
    lotka: EnvironmentFamily, coda: DecomposedDynamics, data: DataSplits
) -> None:
    support = several(lotka)
    curve = error_against_observations(coda, support, data.adapt_test, points=4)
    assert curve.frames[0] == 1
    assert curve.frames[-3:] == [19, 38, 57]
    assert curve.trajectories[-3:] == [1, 2, 3]
    for row, part in (
        (0, support.select(trajectories=[0], frames=slice(0, 2))),
        (-2, support.select(trajectories=[0, 1])),
    ):
        scores = leads.evaluate(leads.adapt(coda, part), data.adapt_test).per_environment["all"]["relative_l2"]
        torch.testing.assert_close(curve.errors[row], torch.tensor(scores), rtol=1e-5, atol=1e-7)
    assert curve.figure().axes[0].get_xlabel() == "observed frames per environment"
    with pytest.raises(SettingsError, match="two points"):
        error_against_observations(coda, support, data.adapt_test, points=1)


def test_solvers_reach_the_losses_that_they_report(coda: DecomposedDynamics, data: DataSplits) -> None:
    curves = error_against_time(coda, data.adapt, {"levenberg_marquardt": {}, "gradient": {"steps": 60}}).curves
    fast, slow = curves["levenberg_marquardt"], curves["gradient"]
    assert fast.losses[-1].tolist() == pytest.approx(leads.adapt(coda, data.adapt).info["loss"], rel=1e-4)
    torch.testing.assert_close(fast.losses[0], slow.losses[0], rtol=1e-4, atol=1e-9)  # the same start
    assert bool((slow.losses[1:] <= slow.losses[:-1]).all())
    assert all(b > a > 0 for a, b in zip(fast.seconds, fast.seconds[1:], strict=False))
    with pytest.raises(UnknownNameError):
        error_against_time(coda, data.adapt, ["newton"])


def test_the_plane_holds_the_errors_of_its_corners(lotka: EnvironmentFamily, coda: DecomposedDynamics) -> None:
    plane = error_over_plane(coda, lotka, side=4, test=2)
    assert plane.names == ("beta", "delta")
    assert plane.first.tolist() == pytest.approx([0.375, 0.625, 0.875, 1.125])
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[1:3, 1:3] = True
    assert torch.equal(plane.inside, expected)
    p = torch.tensor([[0.5, 0.375, 0.5, 1.125]], dtype=torch.float64)
    simulated = [
        leads.simulate(lotka.system, p, draw_states(lotka.system, seeds), lotka.times, dtype=torch.float32)
        for seeds in ([0], [2**31 - 1, 2**31 - 2])
    ]
    error = leads.evaluate(leads.adapt(coda, simulated[0]), simulated[1]).scores["all"]["relative_l2"]
    assert float(plane.errors[0, 3]) == pytest.approx(error, rel=1e-3)
    assert plane.summary()["inside"] == pytest.approx(float(plane.errors[1:3, 1:3].median()))
    assert len(plane.figure().axes) == 2
    with pytest.raises(SettingsError, match="two parameters"):
        error_over_plane(coda, lotka, side=1)


def test_figures_stand_what_is_not_finite() -> None:
    errors = torch.tensor([[0.1, torch.inf], [0.01, 0.2]])
    box = ((0.0, 1.0), (0.0, 1.0))
    axis = torch.tensor([0.0, 1.0])
    for plane in (errors, torch.full((2, 2), torch.inf)):
        ParameterPlane(("a", "b"), axis, axis, plane, box, torch.zeros(1, 2), "mse").figure().savefig(
            "/dev/null", format="png"
        )
    ObservationCurve([1, 2], [1, 1], errors, "mse", 2).figure().savefig("/dev/null", format="png")


def test_figures_of_meaning_refuse_what_does_not_fit(data: DataSplits) -> None:
    estimate = Estimate(torch.ones(4, 1), torch.ones(4, 1, 1), (Parameter("beta", "1/time"),))
    assert recovered(estimate, torch.ones(4, 1)).axes[0].get_xlabel() == "true beta [1/time]"
    with pytest.raises(ShapeError, match="estimate has shape"):
        recovered(estimate, torch.ones(4, 2))
    with pytest.raises(ShapeError, match="sensitivity to beta"):
        sensitivities({"beta": torch.zeros(1, 1, 2, 2)}, data.adapt)
    assert len(sensitivities({"beta": torch.zeros(data.adapt.states.shape)}, data.adapt).axes) == 2


def test_the_section_and_its_budget(coda: DecomposedDynamics, data: DataSplits, tmp_path: Path) -> None:
    seen, new = leads.trained(coda, data=data.train), leads.adapt(coda, data.adapt)
    assert family_of(data.adapt_test) is not None
    # A hundredth of a second allows nothing, and the notes say so.
    short = adaptation_story(seen, new, data.adapt_test, budget=0.01)
    assert not short.figures
    assert [n.split(":")[0] for n in short.notes] == ["parameters from contexts", "curves and maps of adaptation"]
    some = adaptation_story(seen, replace(new, info={"seconds": 2.0, "iterations": 1}), data.adapt_test, budget=6.0)
    assert [wide for _, wide, _ in some.figures] == [True, True]
    assert "a single one takes 2 s" in some.notes[0]
    unknown = adaptation_story(seen, new, replace(data.adapt_test, attributes={}), budget=5.0)
    assert not unknown.figures
    assert "family" in unknown.notes[0]
    rows = [{"step": i, "loss": 1.0, "valid": 2.0, "horizon": 1} for i in (1, 2)]
    run = RunReport(
        "t", "lotka_volterra", "coda", "coda", [leads.evaluate(seen, data.test)], [leads.evaluate(new, data.adapt_test)],
        [rows], seen, new, data.test, data.adapt_test, more=[("A figure made elsewhere.", False, training_curves([rows]))],
    )  # fmt: skip
    without = write_report([run], tmp_path / "r.html", adaptation=0).read_text()
    assert without.count("data:image/png") == 7
    assert "<h3>Adaptation</h3>" in without
    assert "A figure made elsewhere." in without
    assert "Left out" not in without
    page = write_report([replace(run, more=())], tmp_path / "r.html", adaptation=0.01).read_text()
    assert page.count("data:image/png") == 6
    assert "Left out: parameters from contexts" in page
