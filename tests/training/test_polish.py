from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import leads
from leads.errors import SettingsError


def linear_data(n: int, seed: int) -> leads.Trajectories:
    """A rotation with decay: a small network can learn it to many digits."""
    g = torch.Generator().manual_seed(seed)
    times = torch.arange(6, dtype=torch.float64) * 0.2
    x0 = torch.randn(2, n, 2, generator=g, dtype=torch.float64)
    rates = torch.tensor([[0.5, 1.0], [0.5, 1.5]], dtype=torch.float64)
    matrix = torch.stack(
        [torch.stack([-rates[:, 0], rates[:, 1]], -1), torch.stack([-rates[:, 1], -rates[:, 0]], -1)], 1
    )
    flow = torch.linalg.matrix_exp(matrix[:, None] * times[None, :, None, None])
    return leads.Trajectories(torch.einsum("etij,enj->enti", flow, x0).float(), times)


def model(algorithm: str = "coda", **settings: Any) -> Any:
    return leads.build(algorithm, linear_data(4, 0), backbone_settings={"width": 8, "depth": 1}, **settings)


def fitted(polish: int, valid: bool = True, run_dir: Path | None = None) -> tuple[Any, Any]:
    m = model(spread=0.1, context_penalty=0.0, l1=0.0)
    settings = {"steps": 60, "lr": 1e-2, "validate_every": 30, "horizons": (2,), "checkpoint_every": 30}
    data = linear_data(4, 1) if valid else None
    return m, leads.fit(m, linear_data(4, 0), data, run_dir=run_dir, polish=polish, polish_horizon=2, **settings)


def test_it_gains_orders_of_magnitude_and_validation_chooses() -> None:
    _, plain = fitted(0)
    m, result = fitted(120)
    assert [row["step"] for row in result.history] == [30, 60, 110, 160, 180]
    assert result.history[-1]["loss"] < 1e-2 * plain.history[-1]["loss"]
    assert result.best_valid == min(row["valid"] for row in result.history)
    again = float(m.loss_per_environment(linear_data(4, 1), m.source.table()).mean().detach())
    assert again == pytest.approx(result.best_valid, rel=1e-5)


def test_without_validation_the_last_weights_are_kept() -> None:
    plain, _ = fitted(0, valid=False)
    m, result = fitted(50, valid=False)
    loss = lambda q: float(q.loss_per_environment(linear_data(4, 0), q.source.table()).mean().detach())
    assert result.best_step == 110
    assert loss(m) < 0.5 * loss(plain)


def test_a_finished_run_is_read_back_and_not_polished_again(tmp_path: Path) -> None:
    first, one = fitted(50, run_dir=tmp_path)
    second, two = fitted(50, run_dir=tmp_path)
    assert two.history == one.history
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_objectives_that_are_drawn_anew_are_refused() -> None:
    m = model("ncf", dim=4, width=4)
    with pytest.raises(SettingsError, match="NeighbourTable"):
        leads.fit(m, linear_data(4, 0), linear_data(4, 1), steps=40, polish=50)
    with pytest.raises(SettingsError, match="polish"):
        leads.TrainerSettings(polish=-1)
