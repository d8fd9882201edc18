"""Shared weights and contexts in turn, against steps written out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import leads
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError
from leads.training import TrainerSettings
from leads.training.alternation import Alternation
from leads.trajectories import DataSplits

STILL: dict[str, Any] = {"schedule": "constant", "horizons": (2,), "clip": 0.0, "lr": 1e-2}


def build(data: DataSplits, name: str = "coda") -> DecomposedDynamics:
    return leads.build(name, data.train, backbone_settings={"width": 4, "depth": 2}).double()


def halves(model: DecomposedDynamics) -> tuple[torch.Tensor, torch.Tensor]:
    flat = lambda m: torch.cat([p.detach().reshape(-1).clone() for p in m.parameters()])
    return flat(model.adapter), flat(model.source)


@pytest.mark.parametrize("name", ["coda", "leads", "geps"])
def test_one_half_moves_at_a_time(data: DataSplits, name: str) -> None:
    train = data.train.to(dtype=torch.float64)
    seen = []
    for steps in range(1, 7):
        model = build(data, name)
        leads.fit(model, train, steps=steps, alternate=2, **STILL)
        seen.append(halves(model))
    seen.insert(0, halves(build(data, name)))
    moved = [[not torch.equal(b, a) for a, b in zip(x, y, strict=True)] for x, y in pairwise(seen)]
    assert moved == [[True, False]] * 2 + [[False, True]] * 2 + [[True, False]] * 2


def test_proximal_gradients_by_hand(data: DataSplits) -> None:
    model = build(data)
    turns = Alternation(model, TrainerSettings(alternate=3, proximal=5.0))
    weights, codes = turns.halves
    for step in range(6):
        turns.begin(step)
        if step % 3 == 0:
            begun = [p.detach().clone() for p in model.parameters()]
        live = list(model.parameters())
        for p in live:
            p.grad = torch.ones_like(p)
        turns.hold(step)
        moving = weights if step < 3 else codes
        for p, z in zip(live, begun, strict=True):
            if not any(p is q for q in moving):
                assert p.grad is None
            else:
                n = sum(q.numel() for q in moving)
                torch.testing.assert_close(p.grad, 1 + 5 * (p.detach() - z) / n, rtol=1e-12, atol=1e-12)
                p.data += 0.1


def test_a_stiff_proximal_term_holds_blocks_in_place(data: DataSplits) -> None:
    train, start = data.train.to(dtype=torch.float64), halves(build(data))
    distance = []
    for beta in (0.0, 1e3, 1e5):
        model = build(data)
        leads.fit(model, train, steps=40, alternate=40, proximal=beta, **{**STILL, "lr": 1e-3})
        distance.append(float((halves(model)[0] - start[0]).norm()))
    assert distance[0] > 2 * distance[1] > 4 * distance[2]


def test_a_killed_run_resumes_inside_a_block(
    data: DataSplits, tmp_path: Path, fit_killed_at: Callable[..., None]
) -> None:
    settings = TrainerSettings(steps=12, validate_every=2, checkpoint_every=5, alternate=4, proximal=2.0)
    make = lambda: leads.build("coda", data.train, backbone_settings={"width": 4})
    straight, broken, resumed = make(), make(), make()
    leads.fit(straight, data.train, data.valid, settings, tmp_path / "a")
    fit_killed_at(8, broken, data.train, data.valid, settings, tmp_path / "b")
    leads.fit(resumed, data.train, data.valid, settings, tmp_path / "b")
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in straight.state_dict().items())


def test_bad_input(data: DataSplits) -> None:
    for settings in ({"alternate": -1}, {"proximal": -1.0}):
        with pytest.raises(SettingsError, match="alternate and proximal"):
            TrainerSettings(**settings)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="set alternate"):
        leads.fit(build(data), data.train, steps=1, proximal=1.0)
    with pytest.raises(SettingsError, match="no learned contexts"):
        leads.fit(build(data, "erm"), data.train, steps=1, alternate=2)
    with pytest.raises(SettingsError, match="no shared weights"):
        leads.fit(build(data, "one_per_environment"), data.train, steps=1, alternate=2)
