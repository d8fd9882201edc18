"""What a user hands over by mistake is answered in words, at the door."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import leads
from leads.dynamics import DecomposedDynamics
from leads.errors import DataError, SettingsError
from leads.trajectories import from_arrays


@pytest.fixture(scope="module")
def model() -> DecomposedDynamics:
    return leads.build("erm", leads.make("lotka_volterra"), backbone_settings={"width": 4})


def test_a_name_is_not_a_family() -> None:
    with pytest.raises(SettingsError, match=r"got str. Did you mean leads.make\('lotka_volterra'\)"):
        leads.build("coda", "lotka_volterra")  # type: ignore[arg-type]


def test_a_misspelt_setting_of_an_algorithm_is_answered_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"has no 'sprad'.*spread"):
        leads.build("coda", leads.make("lotka_volterra"), sprad=0.1)
    with pytest.raises(SettingsError, match=r"has no 'wdth'.*width"):
        leads.build("coda", leads.make("lotka_volterra"), backbone_settings={"wdth": 8})


def test_tensors_are_not_trajectories(model: DecomposedDynamics) -> None:
    with pytest.raises(DataError, match=r"fit's train needs leads.Trajectories, got Tensor"):
        leads.fit(model, torch.zeros(2, 2, 3, 2), steps=1)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"adapt's support needs leads.Trajectories"):
        leads.adapt(model, torch.zeros(2, 2, 3, 2))  # type: ignore[arg-type]


def test_a_model_without_contexts_is_not_evaluated(model: DecomposedDynamics) -> None:
    data = from_arrays(np.ones((2, 1, 3, 2)), [0.0, 0.5, 1.0])
    with pytest.raises(SettingsError, match=r"leads.trained\(model, data=train\)"):
        leads.evaluate(model, data)  # type: ignore[arg-type]


def test_numbers_are_numbers(model: DecomposedDynamics) -> None:
    data = from_arrays(np.ones((9, 1, 3, 2)), [0.0, 0.5, 1.0])
    with pytest.raises(SettingsError, match="steps needs a number, got '5'"):
        leads.fit(model, data, steps="5")


def test_times_that_run_backwards_are_refused() -> None:
    with pytest.raises(DataError, match="increas"):
        from_arrays(np.ones((2, 1, 3, 2)), np.array([0.0, 0.5, 1.0])[::-1])
