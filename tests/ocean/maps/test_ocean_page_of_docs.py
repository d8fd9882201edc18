from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leads.environments import Budget

DOCS = Path(__file__).resolve().parents[3] / "docs" / "ocean_scores.md"


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the page's code leaves behind, run as it stands but for fewer trajectories and the drawing of the report."""
    made: dict[str, Any] = {"fewer": lambda family: replace(family, budget=Budget(1, 1, 1, 1, 1))}
    for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL):
        code = block.replace('write_ocean_report(results, "ocean.html")', "")
        code = code.replace("leads.generate(family)", "leads.generate(fewer(family))")
        exec(compile(code, str(DOCS), "exec"), made)
    return made


def test_propagation_beats_persistence_and_that_the_mean(names: dict[str, Any]) -> None:
    scores = {name: s.rmse.mean((0, 1)) for name, s in names["results"].scores().items()}
    qg, damped, persistence, climatology = scores.values()
    assert bool((qg < 0.5 * persistence).all())
    # Fitted on other environments, damping still does no harm.
    assert bool((damped <= 1.02 * persistence).all())
    assert float(persistence[0]) < float(climatology[0])


def test_drifters_stay_together_in_a_good_forecast(names: dict[str, Any]) -> None:
    results = names["results"]
    good = results.drift(results.forecasts["1.5-layer QG, c = 2.7 m/s"][0, 0])
    poor = results.drift(results.forecasts["climatology"][0, 0])
    assert float(good.skill.mean()) > 0.8
    assert float(poor.skill.mean()) < 0.3
    assert results.table().columns[1] == "day 1"
