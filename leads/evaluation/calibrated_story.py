"""The report's figures of error bars: coverage, reliability and scores on fresh environments, where there is a calibration."""

from __future__ import annotations

import time
import warnings
from typing import Any

from leads.adaptation import Adapted, AdaptSettings, Calibration, adapt, held_out_environments
from leads.adaptation.posterior import ROLLOUT
from leads.environments import EnvironmentFamily
from leads.errors import LimitsWarning
from leads.evaluation.reliability import Reliability, reliability
from leads.evaluation.story import Drawn, Story
from leads.evaluation.uncertainty_figures import coverage_by_lead_time, reliability_curve

#: Environments that are tried, where time and memory allow so many, and the fewest that say something.
MOST, FEWEST = 100, 20
#: Trajectories of each that are forecast.
TRUTH = 4
#: What the draws' seed is moved by from that of the environments that were calibrated with.
OTHER = 7_919


def reliability_story(
    new: Adapted,
    calibration: Calibration | None,
    family: EnvironmentFamily,
    settings: AdaptSettings | None = None,
    budget: float = 30.0,
) -> Story:
    """Coverage against level and against lead time, with CRPS, interval score and false alarms in the captions.

    Fresh environments are drawn inside the seen range, observed as those that were calibrated with (as many trajectories,
    the same noise), adapted to, and their bands scored, with and without the calibration.

    Args:
        new: environments adapted to, of the model that was calibrated.
        calibration: what :func:`leads.calibrate` found; without it a note says how to get one.
        family: that fresh environments are drawn from.
        settings: of the adaptation.
        budget: seconds; 0 draws nothing.
    """
    story = Story()
    if budget <= 0 or not new.contexts:
        return story
    if calibration is None:
        story.notes.append(
            "coverage and reliability: the error bars of this run are not calibrated (leads calibrate RUN)"
        )
        return story
    made = _seconds_of_two(family, calibration)
    each = made + 3 * float(new.info.get("seconds", 0.0)) / max(1, len(new.posterior()[0]))
    states = len(family.horizon_times) * TRUTH * max(1, _values(family))
    n = max(1, min(MOST, int(budget / max(each, 1e-6)), ROLLOUT // (3 * states)))
    story.add(
        f"coverage and reliability on {FEWEST} fresh environments",
        max(n, FEWEST) * each,
        budget,
        lambda: _draw(new, calibration, family, settings, max(n, FEWEST)),
    )
    return story


def _draw(
    new: Adapted, calibration: Calibration, family: EnvironmentFamily, settings: AdaptSettings | None, n: int
) -> list[Drawn]:
    support, truth = held_out_environments(family, n, **_observed(calibration), truth=TRUTH, dtype=new.like().dtype)
    device = new.like().device
    with warnings.catch_warnings():  # a share of ordinary environments alarms, and is counted below
        warnings.simplefilter("ignore", LimitsWarning)
        adapted = adapt(new.model, support.to(device), settings)
        plain, held = reliability(adapted, truth.to(device)), reliability(adapted, truth.to(device), calibration)
        alarms = calibration.check(adapted, warn=False).alarm.double().mean() if calibration.resolves(0.05) else None
    results = {"posterior alone": plain, "calibrated": held}
    false = "" if alarms is None else f" {float(alarms):.1%} of them alarm, at a rate of 5 % of false alarms."
    return [
        (
            f"Reliability on {n} fresh environments inside the seen range, {_words(calibration)}: share of the truth inside "
            f"bands of each level. {_scores(plain, held)}{false}",
            False,
            reliability_curve(results),
        ),
        (
            f"Share of the truth inside {held.level:.0%} bands against the time since the forecast's start. Over all times "
            f"{_mean(held):.1%} calibrated, {_mean(plain):.1%} by the posterior alone.",
            False,
            coverage_by_lead_time(results),
        ),
    ]


def _scores(plain: Reliability, held: Reliability) -> str:
    return (
        f"CRPS {held.crps:.3g} (of the forecast with the posterior's spread, in units of the state). {held.level:.0%} bands: "
        f"interval score {held.interval_score:.3g} calibrated, {plain.interval_score:.3g} by the posterior alone (less is "
        f"better); mean width {held.width:.3g} and {plain.width:.3g}."
    )


def _mean(found: Reliability) -> float:
    return sum(found.per_environment) / len(found.per_environment)


def _observed(calibration: Calibration) -> dict[str, Any]:
    known = calibration.conditions
    return {
        "support": int(known.get("trajectories", 1)),
        "noise": float(known.get("noise", 0.0)),
        "seed": int(known.get("seed", 0)) + OTHER,
    }


def _words(calibration: Calibration) -> str:
    known = _observed(calibration)
    count = known["support"]
    noise = f", noise {known['noise']:g}" if known["noise"] else ""
    return f"{count} support {'trajectory' if count == 1 else 'trajectories'} each{noise}"


def _values(family: EnvironmentFamily) -> int:
    found = 1
    for size in family.system.state_shape:
        found *= size
    return found


def _seconds_of_two(family: EnvironmentFamily, calibration: Calibration) -> float:
    """Seconds to simulate one environment, judged by two."""
    began = time.perf_counter()
    held_out_environments(family, 2, **_observed(calibration), truth=TRUTH)
    return (time.perf_counter() - began) / 2
