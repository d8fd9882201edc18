"""The ocean section of the HTML report, and a page of its own."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from leads.errors import SettingsError
from leads.evaluation.figures import to_base64
from leads.evaluation.report import RunReport
from leads.ocean.maps.animation import animate
from leads.ocean.maps.panels import panels
from leads.ocean.maps.results import OceanResults
from leads.trajectories.cache import write_whole
from leads.version import __version__


def with_ocean(run: RunReport, results: OceanResults, environments: int = 2) -> RunReport:
    """A run's report with the ocean figures in it, for :func:`leads.evaluation.report.write_report`.

    Args:
        run: the report.
        results: forecasts and truth.
        environments: whose maps are drawn.
    """
    drawn = [(f"{p.title}. {p.caption}", p.wide, p.figure) for p in panels(results, environments)]
    return replace(run, more=[*run.more, *drawn])


def write_ocean_report(
    results: OceanResults | Mapping[str, OceanResults],
    path: str | Path,
    title: str = "Ocean forecasts",
    *,
    environments: int = 2,
    animation: bool = True,
    provenance: str = "",
) -> Path:
    """Write a page that stands alone: a table, curves, maps, spectra, drifters and an animation for each result.

    All images are in the page. Sections, tables and wide figures can be reached and scrolled by keyboard; animations
    start only when opened.

    Args:
        results: one, or several under their headings.
        path: of the page.
        title: its heading.
        environments: whose maps are drawn.
        animation: add a GIF of truth and forecast for the first environment.
        provenance: text at the end: command, seeds, device, date.

    Raises:
        SettingsError: no results.
        FileError: the file could not be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    named = {"Results": results} if isinstance(results, OceanResults) else dict(results)
    if not named:
        raise SettingsError("A report needs at least one result.")
    template = Environment(
        loader=PackageLoader("leads.ocean.maps", "."), autoescape=True, undefined=StrictUndefined
    ).get_template("ocean.html.j2")
    sections = [_section(i, name, r, environments, animation) for i, (name, r) in enumerate(named.items())]
    page = template.render(title=title, sections=sections, provenance=provenance, version=__version__)
    write_whole(Path(path), page.encode())
    return Path(path)


def _section(number: int, name: str, results: OceanResults, environments: int, animation: bool) -> dict[str, Any]:
    drawn = [
        {"title": p.title, "caption": p.caption, "wide": p.wide, "image": to_base64(p.figure)}
        for p in panels(results, environments)
    ]
    e, n = results.truth.shape[:2]
    return {
        "id": f"section-{number}",
        "title": name,
        "summary": f"{results.quantity.capitalize()} in {e} environment{'s' if e > 1 else ''}, {n} forecast"
        f"{'s' if n > 1 else ''} each, by {len(results.forecasts)} method{'s' if len(results.forecasts) > 1 else ''}.",
        "table": results.table(),
        "panels": drawn,
        "animation": _gif(results) if animation and len(results.leads) > 1 else None,
    }


def _gif(results: OceanResults) -> dict[str, str]:
    name, x = results.first
    frames = {"truth": results.truth[0, 0], name: x[0, 0]}
    with tempfile.TemporaryDirectory() as folder:
        path = animate(
            frames, results.chart(0), results.leads, Path(folder) / "forecast.gif",
            kind=results.kind, label=f"{results.quantity} ({results.unit})",
        )  # fmt: skip
        data = base64.b64encode(path.read_bytes()).decode()
    return {
        "title": f"Animation: {results.name(0)}",
        "caption": f"Truth and forecast ({name}) of {results.quantity} move together through the lead times.",
        "image": f"data:image/gif;base64,{data}",
    }
