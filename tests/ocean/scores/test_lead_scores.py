from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from leads.errors import ShapeError
from leads.ocean.scores import lead_coverage, lead_scores

SHAPE = (3, 2, 4, 1, 5, 6)


def draw(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_scores_by_hand() -> None:
    truth = torch.tensor([3.0, 4.0, math.nan, 0.0], dtype=torch.float64).reshape(1, 1, 1, 1, 2, 2)
    forecast = torch.tensor([3.0, 2.0, 9.0, 1.0], dtype=torch.float64).reshape(1, 1, 1, 1, 2, 2)
    s = lead_scores(forecast, truth, climatology=1.0)
    assert float(s.rmse) == pytest.approx(math.sqrt(5 / 3))
    assert float(s.score) == pytest.approx(1 - math.sqrt(5 / 25))
    # Anomalies (2, 1, 0) and (2, 3, -1).
    assert float(s.anomaly_correlation) == pytest.approx(7 / math.sqrt(5 * 14))
    assert s.count.tolist() == [[3]]
    # The second row of the plane counts half.
    s = lead_scores(forecast, truth, weights=torch.tensor([[1.0], [0.5]]))
    assert float(s.rmse) == pytest.approx(math.sqrt((4 + 0.5) / 2.5))


def test_centred_correlation_is_pearsons() -> None:
    forecast, truth, climate = draw(0), draw(1), draw(2).mean((0, 1, 2))
    s = lead_scores(forecast, truth, climatology=climate, centred=True)
    for e in range(3):
        for t in range(4):
            a, b = ((x - climate)[e, :, t].flatten().numpy() for x in (forecast, truth))
            assert float(s.anomaly_correlation[e, t]) == pytest.approx(np.corrcoef(a, b)[0, 1])


def test_masks_and_divergence() -> None:
    forecast, truth = draw(3), draw(4)
    mask = torch.rand(SHAPE, generator=torch.Generator().manual_seed(5)) < 0.7
    s = lead_scores(forecast, truth, mask)
    expected = torch.where(mask, truth, torch.nan)
    torch.testing.assert_close(s.rmse, lead_scores(forecast, expected).rmse)
    forecast[1, 0, 2] = math.inf
    s = lead_scores(forecast, truth)
    assert math.isinf(float(s.rmse[1, 2]))
    assert math.isnan(float(s.anomaly_correlation[1, 2]))
    assert bool(torch.isfinite(s.rmse[0]).all())
    assert torch.isnan(lead_scores(forecast, truth * torch.nan).rmse).all()


def test_coverage_against_lead() -> None:
    truth = draw(6)
    truth[0, :, :, :, 0] = torch.nan
    lower, upper = torch.full_like(truth, -1.0), torch.full_like(truth, 0.5)
    inside = ((truth >= -1) & (truth <= 0.5)).double()
    inside[torch.isnan(truth)] = torch.nan
    torch.testing.assert_close(lead_coverage(lower, upper, truth), inside.transpose(1, 2).flatten(2).nanmean(2))


def test_shapes_are_checked() -> None:
    with pytest.raises(ShapeError, match="Interpolate"):
        lead_scores(draw(0)[..., :3], draw(0))
    with pytest.raises(ShapeError, match="broadcast"):
        lead_scores(draw(0), draw(0), weights=torch.ones(4, 1))
    with pytest.raises(ShapeError, match="upper bound"):
        lead_coverage(draw(0), draw(0)[:1], draw(0))
