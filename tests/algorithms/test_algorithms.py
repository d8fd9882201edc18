from __future__ import annotations

import inspect
from functools import partial

import pytest
import torch

import leads
from leads.algorithms import Algorithm, algorithms
from leads.backbones import backbones
from leads.environments import EnvironmentFamily
from leads.errors import SettingsError, UnknownNameError
from leads.testing import check_algorithm
from leads.trajectories import DataSplits


def gentle(name: str) -> Algorithm:
    """An algorithm whose inner loop, where it has one, takes few steps that no fresh network can be thrown off by."""
    torch.manual_seed(0)
    takes = inspect.signature(algorithms[name]).parameters
    return partial(algorithms[name], **{k: v for k, v in {"inner_lr": 1e-3, "new_steps": 5}.items() if k in takes})


@pytest.mark.parametrize("name", list(algorithms))
def test_contract_on_trajectories(name: str, data: DataSplits) -> None:
    check_algorithm(gentle(name), lambda: backbones["mlp"]((2,), width=6), data.train, data.adapt)


@pytest.mark.parametrize("backbone", [b for b in backbones if b not in ("mlp", "pairwise")])
@pytest.mark.parametrize("name", list(algorithms))
def test_contract_on_fields(name: str, backbone: str, diffusion: EnvironmentFamily) -> None:
    d = leads.generate(diffusion, cache=False)
    # Fresh styled networks are an order of magnitude larger than the others.
    factor = 0.1 if backbone.startswith("style") else 1.0
    check_algorithm(gentle(name), lambda: backbones[backbone]((1, 8), width=4, factor=factor), d.train, d.adapt)


def test_same_seed_same_model(lotka: EnvironmentFamily) -> None:
    weights = [[p.sum().item() for p in leads.build("coda", lotka, seed=s).parameters()] for s in (0, 0, 1)]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_bad_input(lotka: EnvironmentFamily) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'coda'"):
        leads.build("codaa", lotka)
    with pytest.raises(UnknownNameError, match="mlp"):
        leads.build("coda", lotka, backbone="mpl")
    with pytest.raises(SettingsError, match="algorithm 'coda'"):
        leads.build("coda", lotka, dims=3)
    with pytest.raises(SettingsError, match="backbone 'mlp'"):
        leads.build("coda", lotka, backbone_settings={"widht": 3})
    with pytest.raises(UnknownNameError, match="rk4"):
        leads.build("erm", lotka, method="rk44")
    with pytest.raises(UnknownNameError, match="mse"):
        leads.build("geps", lotka, loss="mes")
