"""A calibration says where it is used under other conditions than those that it was made for."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import leads
from leads.adaptation import Calibration
from leads.adaptation.conditions import together
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily
from leads.errors import LimitsWarning

NOISE = 0.02


@pytest.fixture(scope="module")
def calibration(coda: DecomposedDynamics, lotka: EnvironmentFamily) -> Calibration:
    return leads.calibrate(coda, *leads.held_out_environments(lotka, 30, truth=1, noise=NOISE, seed=1))


@pytest.fixture(scope="module")
def fresh(lotka: EnvironmentFamily) -> leads.Trajectories:
    return leads.held_out_environments(lotka, 3, support=2, truth=1, noise=NOISE, seed=2)[0]


def said(
    calibration: Calibration, coda: DecomposedDynamics, support: leads.Trajectories, **settings: object
) -> list[str]:
    return calibration.differences(leads.adapt(coda, support, **settings))


def test_the_same_conditions_are_not_spoken_of(
    calibration: Calibration, coda: DecomposedDynamics, fresh: leads.Trajectories
) -> None:
    assert calibration.conditions == {"trajectories": 1, "observed": [38, 38], "span": 9.5, "initial": "given"} | {
        "noise": NOISE,
        "seed": 1,
    }
    assert said(calibration, coda, fresh.select(trajectories=[0])) == []


def test_each_difference_is_named(
    calibration: Calibration, coda: DecomposedDynamics, fresh: leads.Trajectories
) -> None:
    one = fresh.select(trajectories=[0])
    (more,) = said(calibration, coda, fresh)
    assert "2 trajectories of each environment, calibrated with 1: bands may be too wide" in more
    mask = torch.rand(one.states.shape, generator=torch.Generator().manual_seed(0)) > 0.4
    mask[:, :, 0], mask[1:] = True, True
    (few,) = said(calibration, coda, replace(one, mask=mask))
    assert f"Environment 0 was adapted to {int(mask[0, :, 1:].sum())} observed values" in few
    assert "made with 38: bands may be too narrow" in few
    short = said(calibration, coda, one.select(frames=slice(0, 11)))
    assert "Environment 0 (and 2 others) was adapted to 20 observed values" in short[0]
    assert "span a time of 5, those of the calibration 9.5: bands may be too narrow" in short[1]
    estimated = said(calibration, coda, one, initial="estimated")
    assert "First states were estimated, the calibration was made with initial='given'" in estimated[0]


def test_another_noise_is_named(calibration: Calibration, coda: DecomposedDynamics, lotka: EnvironmentFamily) -> None:
    loud = leads.held_out_environments(lotka, 3, truth=1, noise=10 * NOISE, seed=3)[0]
    (more,) = said(calibration, coda, loud)
    assert "more noisy, or the model explains them worse. Bands may be too narrow" in more
    clean = calibration.residuals * 1e4
    (less,) = replace(calibration, residuals=clean).differences(leads.adapt(coda, loud))
    assert "less noisy, or the model explains them better. Bands may be too wide" in less


def test_it_is_said_where_bands_are_made_and_in_files(
    calibration: Calibration, coda: DecomposedDynamics, fresh: leads.Trajectories, tmp_path: Path
) -> None:
    leads.adapt(coda, fresh).calibrated(calibration).save(tmp_path / "a.safetensors")
    adapted = leads.adaptation.Adapted.load(tmp_path / "a.safetensors")
    assert adapted.calibration is not None
    assert adapted.calibration.conditions == calibration.conditions
    assert any("2 trajectories of each" in w for w in adapted.warnings())
    with pytest.warns(LimitsWarning, match="2 trajectories of each environment, calibrated with 1"):
        adapted.bands(fresh.initial, fresh.times)
    old = replace(calibration, conditions={})  # of a file that was written before there were conditions
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert old.differences(adapted) == []


def test_the_fewest_and_the_most_of_many(coda: DecomposedDynamics, fresh: leads.Trajectories) -> None:
    one, two = fresh.select(environments=[0]), fresh.select(environments=[1, 2], frames=slice(0, 11))
    parts = [leads.adapt(coda, one), leads.adapt(coda, two)]
    assert together(parts)["observed"] == [40, 76]
    assert together([*parts, replace(parts[0], info={})]) == {}
