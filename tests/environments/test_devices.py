"""Every family in single precision, and on a GPU where there is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import leads
from leads.environments import EnvironmentFamily

#: Coarser grids where the published one takes long.
SMALLER: dict[str, dict[str, int]] = {
    "burgers": {"cells": 64, "fine": 256},
    "decaying_turbulence": {"size": 32, "fine": 48},
    "kolmogorov": {"size": 32, "fine": 48},
    "shallow_water": {"size": 32},
    "sst_advection": {"size": 32},
    "two_layer_qg": {"size": 32},
    "equivalent_barotropic_qg": {"size": 32},
    "barotropic_qg": {"size": 48},
    "double_gyre": {"size": 32},
}


def case(name: str) -> tuple[EnvironmentFamily, Tensor, Tensor, Tensor]:
    """A family, two raw draws in each of two environments, parameters and the first two times."""
    family = leads.make(name, **SMALLER.get(name, {}))
    p = family.seen[:2] if len(family.seen) > 1 else torch.cat([family.seen, family.unseen[:1]])
    draws = family.system.sample_x0(4, np.random.RandomState(0))
    return family, draws.unflatten(0, (2, 2)), p, family.times[:2]


def assert_close_by_channel(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Errors of each channel against its own largest value, for channels have different units."""
    axes = [a for a in range(expected.ndim) if a != 3]
    scale = expected.abs().amax(axes).clamp_min(1e-300)
    assert bool(((found.double() - expected).abs().amax(axes) <= tolerance * scale).all())


@pytest.mark.parametrize("name", leads.list_families())
def test_single_precision(name: str) -> None:
    family, x0, p, t = case(name)
    expected = family.system.simulate(x0, p, t)
    found = family.system.simulate(x0.float(), p.float(), t)
    assert (expected.dtype, found.dtype) == (torch.float64, torch.float32)
    assert_close_by_channel(found, expected, 1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", leads.list_families())
def test_gpu_equals_cpu(name: str) -> None:
    family, x0, p, t = case(name)
    expected = family.system.simulate(x0, p, t)
    found = family.system.simulate(x0.cuda(), p.cuda(), t.cuda())
    assert (found.device.type, found.dtype) == ("cuda", torch.float64)
    assert_close_by_channel(found.cpu(), expected, 1e-8)
