"""What all tests share: tiny data and models, a cache of their own, one thread."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import replace

import numpy as np
import pytest
import torch

import leads
from leads.dynamics import DecomposedDynamics
from leads.environments import Box, Budget, Channel, EnvironmentFamily, Grid, Parameter, System
from leads.trajectories import DataSplits

torch.set_num_threads(1)


class Diffusion(System):
    """u_t = D u_xx on a periodic line of 8 cells: small enough for any test of a field."""

    channels = (Channel("u"),)
    parameters = (Parameter("D", "1/time", 0.0, 1.0),)
    grid = Grid((8,), (1.0,), ("x",))

    def rhs(self, t: torch.Tensor, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        (d,) = self.split(p)
        return (d * (x.roll(1, -1) + x.roll(-1, -1) - 2 * x)[..., 0, :]).unsqueeze(-2)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> torch.Tensor:
        return torch.from_numpy(generator.uniform(0, 1, size=(n, 1, 8)))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["LEADS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def lotka() -> EnvironmentFamily:
    return leads.make("lotka_volterra")


@pytest.fixture(scope="session")
def data(lotka: EnvironmentFamily) -> DataSplits:
    small = replace(lotka, budget=Budget(train=2, test=4, valid=2, adapt=1, adapt_test=4))
    return leads.generate(small)


@pytest.fixture(scope="session")
def diffusion() -> EnvironmentFamily:
    return EnvironmentFamily(
        name="diffusion",
        split="test",
        system=Diffusion(),
        seen=torch.tensor([[0.1], [0.3]], dtype=torch.float64),
        unseen=torch.tensor([[0.2]], dtype=torch.float64),
        times=torch.arange(5, dtype=torch.float64),
        budget=Budget(train=2, test=2, valid=1, adapt=1, adapt_test=2),
        distribution=Box((0.1,), (0.3,)),
    )


@pytest.fixture(scope="session")
def coda(data: DataSplits) -> DecomposedDynamics:
    """A briefly trained model; tests must not change it."""
    model = leads.build("coda", data.train, backbone_settings={"width": 16}, spread=0.1, context_penalty=1e-6)
    leads.fit(model, data.train, data.valid, steps=400, lr=1e-2, average=0.98, validate_every=50)
    return model
