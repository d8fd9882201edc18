from __future__ import annotations

import numpy as np
import pytest
import torch

from leads.environments.equivalent_barotropic_qg import EquivalentBarotropicQG
from leads.errors import DataError, SettingsError
from leads.ocean.scores import periodic_currents


def test_currents_are_the_familys() -> None:
    system = EquivalentBarotropicQG(32)
    h = system.sample_x0(2, np.random.RandomState(0))
    latitude = torch.tensor([30.0, 50.0], dtype=torch.float64)
    p = torch.stack([latitude, 0 * latitude + 2.7, 0 * latitude], -1)
    made, exact = periodic_currents(h[:, 0], latitude, (1e4, 1e4)), system.velocity(h, p)
    for a, b in zip(made, exact, strict=True):
        torch.testing.assert_close(a, b)


def test_bad_heights_are_refused() -> None:
    h = torch.zeros(8, 8, dtype=torch.float64)
    with pytest.raises(SettingsError, match="near the equator"):
        periodic_currents(h, 3.0, (1e4, 1e4))
    with pytest.raises(SettingsError, match="Spacings"):
        periodic_currents(h, 30.0, (0.0, 1e4))
    with pytest.raises(DataError, match="missing"):
        periodic_currents(h * torch.nan, 30.0, (1e4, 1e4))
