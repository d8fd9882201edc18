from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from leads.errors import SettingsError, ShapeError
from leads.ocean.maps import Chart, drifters, lead_curves, space_time_resolution, spectra
from leads.ocean.scores import Box, SpectralScore, Spectrum, drifter_scores

DAY = 86400.0


def test_bands_are_one_deviation_over_seeds_and_environments() -> None:
    g = torch.Generator().manual_seed(0)
    values = torch.rand(3, 4, 5, generator=g)
    values[0, 0, 2] = math.inf
    figure = lead_curves({"ours": values, "theirs": values[0]}, torch.arange(1, 6) * DAY, "RMSE (m)")
    ax = figure.axes[0]
    flat = values.double().numpy().reshape(12, 5)
    flat[~np.isfinite(flat)] = np.nan
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.nanmean(flat, 0))
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [1, 2, 3, 4, 5])
    band = ax.collections[0].get_paths()[0].vertices
    top = (np.nanmean(flat, 0) + np.nanstd(flat, 0)).max()
    assert band[:, 1].max() == pytest.approx(top)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["ours", "theirs"]


def test_effective_resolution_is_marked() -> None:
    k = torch.tensor([1 / 400, 1 / 200, 1 / 100, 1 / 50]).double()
    truth = Spectrum(k, torch.tensor([8.0, 4.0, 2.0, 1.0]).double())
    error = Spectrum(k, truth.density * torch.tensor([0.0, 0.2, 0.6, 0.9]).double())
    figure = spectra({"truth": truth, "ours": truth}, errors={"ours": error})
    # Half-way between scores 0.8 and 0.4 at 200 and 100 km is 0.5 at 125 km.
    labels = [t.get_text() for t in figure.legends[0].get_texts()]
    assert labels == ["truth", "ours (125 km)"]
    assert [float(line.get_xdata()[0]) for line in figure.axes[0].lines if line.get_linestyle() == ":"] == [
        pytest.approx(125)
    ]
    none = spectra({"truth": truth}, errors={"ours": truth})
    assert none.axes[1].lines[0].get_ydata() == pytest.approx([0, 0, 0, 0])


def test_space_time_figure_marks_both_scales() -> None:
    w, p = torch.tensor([400.0, 200.0, 100.0]), torch.tensor([40.0, 20.0, 10.0])
    score = torch.tensor([[0.9, 0.8, 0.6], [0.8, 0.6, 0.3], [0.4, 0.2, 0.1]])
    figure = space_time_resolution(SpectralScore(p, w, score, torch.tensor(150.0), torch.tensor(12.0)), length="km")
    texts = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert texts == ["150 km", "12 days"]
    with pytest.raises(ShapeError, match="Select one"):
        space_time_resolution(SpectralScore(p, w, score[None], torch.tensor([1.0]), torch.tensor([1.0])))


def test_paths_that_leave_a_box_come_back() -> None:
    u = torch.ones(3, 8, 8, dtype=torch.float64)
    times = torch.arange(3, dtype=torch.float64) * DAY / 2
    start = torch.tensor([[6e4, 3e4]], dtype=torch.float64)
    scores = drifter_scores((u, 0 * u), (u, 0 * u), times, start, Box((1e4, 1e4)))
    figure = drifters(scores, Chart.box((8, 8), (1e4, 1e4)), (u[0], 0 * u[0]))
    x = np.asarray(figure.axes[0].lines[0].get_xdata())
    # 60 km, 103.2 km = 23.2 km after a round of 80 km (a jump, not drawn), 146.4 km = 66.4 km.
    assert x[0] == pytest.approx(60)
    assert math.isnan(x[1])
    assert x[2] == pytest.approx(66.4)
    assert "skill score 1.00" in figure.axes[1].get_title()
    several = replace(scores, truth=scores.truth[None])
    with pytest.raises(ShapeError, match="Select one environment"):
        drifters(several, Chart.box((8, 8), (1e4, 1e4)))


def test_bad_curves_are_refused() -> None:
    with pytest.raises(SettingsError, match="no scores"):
        lead_curves({}, torch.arange(3), "x")
    with pytest.raises(ShapeError, match="T = 3"):
        lead_curves({"a": torch.zeros(2, 4)}, torch.arange(3), "x")
    k = torch.tensor([0.1, 0.2])
    with pytest.raises(SettingsError, match="must hold 'truth'"):
        spectra({"a": Spectrum(k, k)})
    with pytest.raises(ShapeError, match="densities, the truth"):
        spectra({"truth": Spectrum(k, k)}, errors={"a": Spectrum(torch.ones(3), torch.ones(3))})
