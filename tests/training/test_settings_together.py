"""Stages, turns, task batches, fresh environments, hidden labels and past frames, two or three at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import leads
from leads.contexts import SupervisedEncoder
from leads.contexts.labels import settled
from leads.environments import EnvironmentFamily
from leads.errors import SettingsError
from leads.trajectories import DataSplits
from leads.trajectories.samples import Sampling, sampled_splits

SMALL: dict[str, Any] = {"backbone_settings": {"width": 6}}
SHORT: dict[str, Any] = {"steps": 4, "horizons": (2,)}


@pytest.mark.parametrize("stages", [1, 2])
def test_supervised_encoders_with_task_batches(data: DataSplits, stages: int) -> None:
    model = leads.build("dyad", data.train, dim=4, stages=stages, **SMALL)
    source = model.source
    assert isinstance(source, SupervisedEncoder)
    before = {k: v.detach().clone() for k, v in source.named_parameters()}
    leads.fit(model, data.train, data.valid, environments_per_step=2, **SHORT)
    assert any(not torch.equal(v, before[k]) for k, v in source.named_parameters())
    assert bool(source.frozen) == (stages == 2)


def test_a_label_means_the_same_parameter_in_a_part_of_the_data(data: DataSplits) -> None:
    train = data.train
    assert train.parameters is not None
    varies = [i for i in range(train.parameters.shape[1]) if len(train.parameters[:, i].unique()) > 1]
    first, second = varies[:2]
    same = (train.parameters[:, first] == train.parameters[0, first]).nonzero()[:, 0].tolist()
    part = train.select(environments=same)
    name = train.parameter_specs[first].name
    assert settled(train, ("varying", "mean")) == (name, "mean")
    assert settled(part, ("varying",)) == (train.parameter_specs[second].name,)
    model = leads.build("dyad", train, dim=4, **SMALL)
    source = model.source
    assert isinstance(source, SupervisedEncoder)
    source.begin(train)
    assert source.told == (name,)


def test_a_held_source_has_no_turn(data: DataSplits) -> None:
    model = leads.build("dyad", data.train, dim=4, **SMALL)
    with pytest.raises(SettingsError, match="In their turn the contexts are held"):
        leads.fit(model, data.train, alternate=2, **SHORT)


def test_hidden_labels_with_task_batches_and_past_frames(data: DataSplits, lotka: EnvironmentFamily) -> None:
    train = data.train.unlabelled()
    make = lambda: leads.build("dynainfer", train, assumed=3, warmup=1, history=2, **SMALL)
    model = make()
    leads.fit(model, train, data.valid.unlabelled(), environments_per_step=5, **SHORT)
    labels = model.source.labels
    assert isinstance(labels, torch.Tensor)
    assert labels.unique().tolist() == [0, 1, 2]
    with pytest.raises(SettingsError, match="HiddenLabels keeps a context for each seen environment"):
        leads.fit(make(), train, fresh_environments=4, family=lotka, **SHORT)


@pytest.mark.parametrize("more", [{"environments_per_step": 2}, {"fresh_environments": 3, "fresh_every": 2}])
def test_moving_averages_with_past_frames(data: DataSplits, lotka: EnvironmentFamily, more: dict[str, int]) -> None:
    model = leads.build("foca", data.train, history=2, inner_lr=1e-3, **SMALL)
    result = leads.fit(model, data.train, data.valid, family=lotka, **SHORT, **more)
    assert result.best_valid is not None


def test_fresh_environments_are_not_mixed_with_standardised_data(data: DataSplits, lotka: EnvironmentFamily) -> None:
    scaled = sampled_splits(data, replace(Sampling(), standardise="channels")).train
    with pytest.raises(SettingsError, match="data are standardised"):
        leads.fit(leads.build("erm", scaled, **SMALL), scaled, family=lotka, fresh_environments=3, **SHORT)
