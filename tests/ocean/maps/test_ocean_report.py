from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

import leads
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError, ShapeError
from leads.evaluation import figures
from leads.evaluation.report import RunReport, write_report
from leads.ocean.maps import Chart, OceanResults, panels, with_ocean, write_ocean_report
from leads.ocean.scores import spectral_score
from leads.trajectories import DataSplits

DAY = 86400.0
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")) if p), None)


def velocity(h: torch.Tensor, environment: int) -> tuple[torch.Tensor, torch.Tensor]:
    assert environment in (0, 1)
    scale = 9.81 / 9e-5 / 2e4
    return -scale * (h.roll(-1, -2) - h.roll(1, -2)), scale * (h.roll(-1, -1) - h.roll(1, -1))


def made(whole: bool = True) -> OceanResults:
    """Two environments, two frames; forecasts with known errors, one of two seeds."""
    y, x = torch.arange(8.0, dtype=torch.float64)[:, None], torch.arange(10.0, dtype=torch.float64)
    h = 0.1 * torch.sin(2 * torch.pi * y / 8) * torch.cos(2 * torch.pi * (x / 10 + torch.arange(2)[:, None, None] / 9))
    truth = h.expand(2, 1, 2, 8, 10).clone()
    truth[:, :, :, :2, :3] = torch.nan
    step = torch.tensor([0.01, 0.02]).double()[:, None, None]
    seeds = torch.stack([truth + step, truth + 3 * step])
    extra = {"velocity": velocity, "deviation": torch.full_like(truth, 0.02)} if whole else {}
    return OceanResults(
        truth, {"hybrid": seeds, "persistence": truth - 4 * step}, torch.tensor([1.0, 2.0]).double() * DAY,
        Chart.box((8, 10), (1e4, 1e4)), environments=("north", "south"), **extra,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "ocean.html"
    return write_ocean_report({"A <first> sea": made()}, path, "Two seas", environments=1, provenance="seed 0")


class Page(HTMLParser):
    """What the checks below ask about."""

    VOID = {"meta", "img", "br", "link"}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID and tag != "!doctype":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag]


def test_page_stands_alone_and_is_well_formed(page: Path) -> None:
    text = page.read_text()
    parsed = Page(text)
    assert parsed.open == []
    assert "A &lt;first&gt; sea" in text
    images = parsed.all("img")
    # Two curves, coverage, drifters by method, maps, uncertainty, spectra, drifters, and the animation.
    assert len(images) == 9
    assert all(str(i["src"]).startswith("data:image/") for i in images)
    assert sum(str(i["src"]).startswith("data:image/gif") for i in images) == 1
    assert not re.search(r'(src|href)="(http|//|file)', text)
    assert not parsed.all("script")
    assert not parsed.all("link")


def test_page_is_accessible(page: Path) -> None:
    parsed = Page(page.read_text())
    assert parsed.all("html")[0]["lang"] == "en"
    assert "width=device-width" in str(parsed.all("meta")[1]["content"])
    assert all(len(str(i["alt"])) > 20 for i in parsed.all("img"))
    levels = [int(t[1]) for t, _ in parsed.tags if re.fullmatch("h[1-6]", t)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    identifiers = [a["id"] for _, a in parsed.tags if "id" in a]
    assert len(set(identifiers)) == len(identifiers)
    assert all(a["aria-labelledby"] in identifiers for _, a in parsed.tags if "aria-labelledby" in a)
    assert all(str(a["href"])[1:] in identifiers for a in parsed.all("a"))
    # What scrolls sideways can be reached by keyboard; what moves starts only when it is opened.
    assert all(a.get("tabindex") == "0" for t, a in parsed.tags if a.get("class") == "scroll" or t == "pre")
    assert len(parsed.all("figure")) == len(parsed.all("figcaption"))
    gif = next(i for i, (t, a) in enumerate(parsed.tags) if t == "img" and "image/gif" in str(a["src"])[:20])
    assert "details" in [t for t, _ in parsed.tags[gif - 4 : gif]]
    assert all("open" not in a for a in parsed.all("details"))
    assert {a.get("scope") for a in parsed.all("th")} == {"row", "col"}


def test_letters_can_be_read_at_800_pixels() -> None:
    """On a page 800 pixels wide a figure that takes its width is about 730 wide."""
    from matplotlib.text import Text

    for panel in panels(made(), 1):
        pixels = 730 / (panel.figure.get_size_inches()[0] * 72)
        sizes = [t.get_fontsize() for t in panel.figure.findobj(Text) if t.get_text()]
        assert min(sizes) * pixels > 8.5, panel.title


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine's path")
def test_page_in_chromium_at_800_pixels(page: Path, tmp_path: Path) -> None:
    from PIL import Image

    shot = tmp_path / "shot.png"
    flags = ["--headless", "--disable-gpu", "--no-sandbox", "--hide-scrollbars", "--window-size=800,3000"]
    run = lambda *more: subprocess.run(
        [str(CHROMIUM), *flags, *more], check=True, capture_output=True, text=True, timeout=60
    )
    run(f"--screenshot={shot}", page.as_uri())
    with Image.open(shot) as image:
        assert image.size[0] == 800
        colours = image.convert("RGB").resize((80, 300)).getcolors(24000)
        assert colours is not None
        assert len(colours) > 50
    asked = tmp_path / "asked.html"
    question = "<script>document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth</script>"
    asked.write_text(page.read_text().replace("</body>", question + "</body>"))
    assert 'data-wide="false"' in run("--dump-dom", asked.as_uri()).stdout


def test_table_by_hand() -> None:
    table = made().table()
    assert table.columns == ["RMSE (m)", "day 1", "day 2"]
    # Seeds err by 1 and 3 cm on the first day, by twice that on the second; both environments alike.
    assert table.rows == [["hybrid", "0.02 ± 0.01", "0.04 ± 0.02"], ["persistence", "0.04 ± 0", "0.08 ± 0"]]
    assert made().scores()["hybrid"].rmse.shape == (2, 2, 2)


def test_coverage_is_drawn_against_its_promise() -> None:
    # Errors of the drawn seed are 1 and 2 cm with a deviation of 2 cm: outside of and inside the 50 % band, inside the 90 %.
    panel = next(p for p in panels(made(), 1) if p.title == "Coverage of the bands")
    half, most = (line.get_ydata() for line in panel.figure.axes[0].lines[:2])
    assert list(half) == [1, 0]
    assert list(most) == [1, 1]
    assert [line.get_ydata()[0] for line in panel.figure.axes[0].lines[2:]] == [0.5, 0.9]


def test_resolution_in_time_needs_five_leads() -> None:
    assert all(p.title != "Resolved wavelengths and periods" for p in panels(made(False), 1))
    g = torch.Generator().manual_seed(0)
    truth = torch.randn(2, 2, 8, 6, 9, dtype=torch.float64, generator=g)
    forecast = truth + 0.6 * torch.randn(truth.shape, dtype=torch.float64, generator=g)
    results = OceanResults(truth, {"a": forecast}, torch.arange(1, 9).double() * DAY, Chart.box((6, 9), (2e4, 1e4)))
    (panel,) = [p for p in panels(results, 1) if p.title == "Resolved wavelengths and periods"]
    # All rows of all environments and trajectories as rows of one field.
    both = [x.permute(2, 0, 1, 3, 4).reshape(8, 24, 9) for x in (forecast, truth)]
    score = spectral_score(*both, 1.0, 10.0, path="longest")
    labels = [t.get_text() for t in panel.figure.axes[0].get_legend().get_texts()]
    assert labels == [f"{float(score.lambda_x):.3g} km", f"{float(score.lambda_t):.3g} days"]


def test_no_currents_on_land() -> None:
    from matplotlib.quiver import Quiver

    results = made()
    u, _ = results.flow(torch.nan_to_num(results.truth[0, 0]), 0)
    assert torch.isnan(u[:, :2, :3]).all()
    assert torch.isfinite(u[:, 3:]).all()
    maps = next(p for p in panels(results, 1) if p.title == "Maps: north")
    arrows = [c for ax in maps.figure.axes for c in ax.collections if isinstance(c, Quiver)]
    # Truth and forecast at two leads, none over the error.
    assert len(arrows) == 4


def test_drift_needs_a_velocity_and_is_perfect_for_the_truth() -> None:
    results = made()
    scores = results.drift(results.truth[0, 0])
    both = results.drift(torch.stack([results.truth[0, 0], 0 * results.truth[0, 0]]))
    torch.testing.assert_close(both.truth[1], scores.truth, equal_nan=True)
    assert float(both.separation[0].nan_to_num().max()) == 0
    assert float(both.mean_separation[1, -1]) > 1e3
    assert float(scores.separation.nan_to_num().max()) == 0
    # Six starts a side, those on land left out.
    assert 20 < scores.truth.shape[0] < 36
    with pytest.raises(SettingsError, match="velocity"):
        made(False).drift(results.truth[0, 0])


def test_figures_go_into_a_runs_report(
    coda: DecomposedDynamics, data: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ten figures take seconds to paint, and what they look like is not this test's matter.
    monkeypatch.setattr(figures, "to_base64", lambda figure: "data:image/png;base64,AAAA")
    seen, new = leads.trained(coda, data.train.parameters), leads.adapt(coda, data.adapt, steps=5)
    history = [{"step": i, "loss": 1.0 / i, "valid": 2.0 / i, "horizon": 1, "lr": 1e-3, "seconds": i} for i in (1, 2)]
    run = RunReport(
        "a title", "lotka_volterra", "coda", "coda", [leads.evaluate(seen, data.test)],
        [leads.evaluate(new, data.adapt_test)], [history], seen, new, data.test, data.adapt_test,
    )  # fmt: skip
    more = with_ocean(run, made(False), environments=1)
    assert len(run.more) == 0
    titles = [caption.split(".")[0] for caption, _, _ in more.more]
    assert titles == ["Error against lead time", "Anomaly correlation", "Maps: north", "Spectra"]
    text = write_report([more], tmp_path / "r.html", adaptation=0).read_text()
    assert "Maps: north. Truth, forecast (hybrid)" in text
    assert text.count("data:image/png;base64,AAAA") == 6 + 4


def test_bad_results_are_refused(tmp_path: Path) -> None:
    h, leads_, chart = torch.zeros(1, 1, 2, 8, 10), torch.tensor([1.0, 2.0]), Chart.box((8, 10), (1.0, 1.0))
    with pytest.raises(SettingsError, match="at least one forecast"):
        OceanResults(h, {}, leads_, chart)
    with pytest.raises(ShapeError, match="The forecast 'a'"):
        OceanResults(h, {"a": h[..., :5]}, leads_, chart)
    with pytest.raises(ShapeError, match="T = 3"):
        OceanResults(h, {"a": h}, torch.arange(3.0), chart)
    with pytest.raises(ShapeError, match="chart's"):
        OceanResults(h, {"a": h}, leads_, Chart.box((5, 5), (1.0, 1.0)))
    with pytest.raises(SettingsError, match="at least one result"):
        write_ocean_report({}, tmp_path / "r.html")
