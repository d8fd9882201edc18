from __future__ import annotations

import math
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from PIL import Image

from leads.errors import DataError, FileError, SettingsError, ShapeError, UnknownNameError
from leads.ocean.maps import Chart, animate, colour_map, colours, comparison, field_map, uncertainty  # type: ignore[attr-defined]
from leads.ocean.maps.chart import _degrees
from leads.ocean.maps.fields import limits, spread

DAY = 86400.0


def field(*lead: int) -> torch.Tensor:
    """A vortex with land in one corner, ``(*lead, 8, 10)``."""
    y, x = torch.arange(8.0)[:, None] - 4, torch.arange(10.0) - 5
    h = torch.exp(-(x**2 + y**2) / 6).double() - 0.2
    h[:2, :3] = torch.nan
    return h.expand(*lead, 8, 10).clone()


CHART = Chart.box((8, 10), (1e4, 1e4))


def meshes(ax) -> list:  # type: ignore[no-untyped-def, type-arg]
    from matplotlib.collections import QuadMesh

    return [c for c in ax.collections if isinstance(c, QuadMesh)]


def test_land_is_grey_and_values_are_coloured() -> None:
    figure = field_map(field(), CHART, label="m")
    FigureCanvasAgg(figure).draw()
    land, sea = meshes(figure.axes[0])
    grey = to_rgba(colours.LAND)
    faces = land.get_facecolors().reshape(8, 10, 4)
    np.testing.assert_allclose(faces[0, 0], grey)
    assert faces[5, 5, 3] == 0
    assert sea.get_facecolors().reshape(8, 10, 4)[0, 0, 3] == 0
    assert sea.get_clim() == (-0.8, 0.8)


def test_gaps_are_not_land_where_land_is_known() -> None:
    land = torch.zeros(8, 10, dtype=torch.bool)
    land[0, 0] = True
    figure = field_map(field(), Chart.box((8, 10), (1e4, 1e4), land))
    FigureCanvasAgg(figure).draw()
    faces = meshes(figure.axes[0])[0].get_facecolors().reshape(8, 10, 4)
    assert faces[0, 0, 3] == 1
    assert faces[1, 1, 3] == 0


def test_charts_know_where_they_are() -> None:
    chart = Chart.geographic(torch.linspace(55, 65, 6), torch.linspace(350, 370, 5))
    assert chart.aspect == pytest.approx(2)
    assert chart.ratio == pytest.approx(1)
    assert [_degrees(v, "EW") for v in (-10, 0, 7.5)] == ["10°W", "0°", "7.5°E"]
    assert float(CHART.x[-1]) == 90
    assert CHART.aspect == 1
    ax = field_map(torch.rand(6, 5), chart).axes[0]
    assert ax.get_aspect() == pytest.approx(2)
    assert ax.xaxis.get_major_formatter()(355) == "5°W"


def test_truth_and_forecast_share_their_colours() -> None:
    truth = field(6)
    forecast = truth * torch.linspace(1, 1.5, 6)[:, None, None]
    figure = comparison(truth, forecast, CHART, torch.arange(1, 7) * DAY, label="m", most=3)
    panels = [meshes(ax)[-1] for ax in figure.axes[:9]]
    assert {p.get_clim() for p in panels[:6]} == {(-0.8, 0.8)}
    worst = float((forecast - truth)[[0, 2, 5]].nan_to_num().abs().max())
    assert {p.get_clim() for p in panels[6:]} == {(-worst, worst)}
    assert [ax.get_title() for ax in figure.axes[:3]] == ["day 1", "day 3", "day 6"]
    assert [figure.axes[i].get_ylabel() for i in (0, 3, 6)] == ["truth", "forecast", "error"]
    np.testing.assert_allclose(panels[7].get_array().filled(np.nan), (forecast - truth)[2].numpy(), atol=1e-12)


def test_arrows_and_streamlines_follow_the_current() -> None:
    from matplotlib.quiver import Quiver

    u, v = torch.full((8, 10), 0.3).double(), torch.full((8, 10), -0.1).double()
    figure = field_map(field(), CHART, currents=(u, v))
    (arrows,) = [c for c in figure.axes[0].collections if isinstance(c, Quiver)]
    np.testing.assert_allclose(np.unique(arrows.U), 0.3)
    np.testing.assert_allclose(np.unique(arrows.V), -0.1)
    lines = field_map(field(), CHART, currents=(u, v), style="streamlines").axes[0]
    paths = np.concatenate([p.vertices for c in lines.collections[2:] for p in c.get_paths() if len(p.vertices) > 1])
    steps = np.diff(paths[:20], axis=0)
    slope = steps[np.abs(steps[:, 0]) > 1e-9]
    np.testing.assert_allclose(slope[0, 1] / slope[0, 0], -1 / 3, rtol=1e-3)
    # No current at all draws no arrows.
    still = field_map(field(), CHART, currents=(0 * u, 0 * v)).axes[0]
    assert not [c for c in still.collections if isinstance(c, Quiver)]


def test_uncertainty_counts_what_lies_within() -> None:
    truth, forecast = torch.zeros(8, 10).double(), torch.ones(8, 10).double()
    deviation = torch.full((8, 10), 1.0).double()
    deviation[:2] = 0.4
    figure = uncertainty(truth, forecast, deviation, CHART, label="m")
    assert figure.axes[3].get_title() == "error in deviations: 75% within two"
    assert meshes(figure.axes[2])[-1].get_clim() == (0, 1)
    assert meshes(figure.axes[3])[-1].get_clim() == (-3, 3)


def test_limits() -> None:
    low = limits("temperature", torch.tensor([12.0, 20.0, math.nan]))
    assert (low["vmin"], low["vmax"]) == (12, 20)
    off = limits("height", torch.tensor([0.2, 0.5]))
    assert (off["vmin"], off["vmax"]) == pytest.approx((0.2, 0.5))
    assert (limits("error", torch.tensor([0.2, 0.5]))["vmin"]) == pytest.approx(-0.5)
    assert spread(20, 4) == [0, 6, 13, 19]
    assert spread(2, 4) == [0, 1]
    assert spread(1, 4) == [0]


def test_colours_without_cmocean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmocean", None)
    colours._colour_map.cache_clear()
    colours._tell_once.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"^cmocean is not installed.*leads-dynamics\[ocean\]"):
            assert colour_map("height").name == "RdBu_r"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert colour_map("temperature").name == "inferno"
    finally:
        colours._colour_map.cache_clear()


def test_colours_of_cmocean() -> None:
    pytest.importorskip("cmocean")
    assert colour_map("height").name == "balance"
    with pytest.raises(UnknownNameError, match="temperature"):
        colour_map("temprature")  # type: ignore[arg-type]


def test_animation_has_a_frame_a_lead(tmp_path: Path) -> None:
    truth = field(4) * torch.linspace(0.5, 1, 4)[:, None, None]
    path = animate({"truth": truth, "forecast": 0.9 * truth}, CHART, torch.arange(4) * DAY, tmp_path / "a.gif", rate=2)
    with Image.open(path) as image:
        assert image.n_frames == 4  # type: ignore[attr-defined]
        assert image.info["duration"] == 500
        assert 700 < image.size[0] <= 800
        first = np.asarray(image.convert("RGB")).astype(int)
        image.seek(3)
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - first).max() > 50


def test_mp4_needs_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(FileError, match=r"a\.mp4: MP4 needs ffmpeg.*or write a \.gif"):
        animate({"truth": field(2)}, CHART, torch.arange(2) * DAY, tmp_path / "a.mp4")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on this machine")
def test_mp4(tmp_path: Path) -> None:
    path = animate({"truth": field(2)}, CHART, torch.arange(2) * DAY, tmp_path / "a.mp4")
    assert path.read_bytes()[4:8] == b"ftyp"


def test_bad_maps_are_refused(tmp_path: Path) -> None:
    leads = torch.arange(2) * DAY
    with pytest.raises(ShapeError, match=r"end in the chart's \(8, 10\)"):
        field_map(torch.zeros(5, 5), CHART)
    with pytest.raises(DataError, match="all land"):
        field_map(torch.full((8, 10), math.nan), CHART)
    with pytest.raises(UnknownNameError, match="arrows"):
        field_map(field(), CHART, currents=(field(), field()), style="arows")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="2, 3 and 2 times"):
        comparison(field(2), field(3), CHART, leads)
    with pytest.raises(SettingsError, match="must increase; flip"):
        Chart.geographic(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 2.0]))
    with pytest.raises(ShapeError, match="Land has shape"):
        Chart.box((8, 10), (1.0, 1.0), torch.zeros(3, 3, dtype=torch.bool))
    with pytest.raises(UnknownNameError, match=r"\.gif or \.mp4"):
        animate({"truth": field(2)}, CHART, leads, tmp_path / "a.avi")
    with pytest.raises(ShapeError, match="there are 2 lead times"):
        animate({"truth": field(3)}, CHART, leads, tmp_path / "a.gif")
    with pytest.raises(SettingsError, match="needs panels"):
        animate({}, CHART, leads, tmp_path / "a.gif")
    with pytest.raises(FileError, match="could not be written"):
        animate({"truth": field(2)}, CHART, leads, tmp_path / "no" / "a.gif")
