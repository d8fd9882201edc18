from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import leads
from leads.errors import CheckpointError, DivergenceError, SettingsError, ShapeError, UnknownNameError
from leads.training import ScheduledSampling, TrainerSettings, files
from leads.training.episodes import sampled
from leads.trajectories import DataSplits

SMALL: dict[str, Any] = {"backbone_settings": {"width": 8}}


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def test_learns(data: DataSplits, coda: torch.nn.Module) -> None:
    fresh = leads.build("coda", data.train, **SMALL)
    before = fresh.loss_per_environment(data.test, fresh.source.table()).mean()
    after = coda.loss_per_environment(data.test, coda.source.table()).mean()
    assert float(after.detach()) < 0.05 * float(before.detach())


@pytest.mark.parametrize("sampling", [None, ScheduledSampling(every=2)])
def test_a_killed_run_resumes_to_the_same_numbers(
    data: DataSplits, tmp_path: Path, fit_killed_at: Callable[..., None], sampling: ScheduledSampling | None
) -> None:
    settings = TrainerSettings(
        steps=24, validate_every=2, checkpoint_every=5, average=0.9, batch=1, scheduled_sampling=sampling, seed=3
    )
    straight = leads.build("coda", data.train, **SMALL)
    whole = leads.fit(straight, data.train, data.valid, settings, tmp_path / "a")
    broken = leads.build("coda", data.train, **SMALL)
    fit_killed_at(14, broken, data.train, data.valid, settings, tmp_path / "b")
    resumed = leads.build("coda", data.train, **SMALL)
    rest = leads.fit(resumed, data.train, data.valid, settings, tmp_path / "b")
    assert torch.equal(weights(straight), weights(resumed))
    strip = lambda rows: [{k: v for k, v in r.items() if k != "seconds"} for r in rows]
    assert strip(whole.history) == strip(rest.history)


def test_run_folder(data: DataSplits, tmp_path: Path) -> None:
    model = leads.build("coda", data.train, **SMALL)
    result = leads.fit(model, data.train, data.valid, steps=6, validate_every=2, run_dir=tmp_path)
    assert json.loads((tmp_path / "history.json").read_text()) == result.history
    assert list((tmp_path / "tensorboard").glob("events*"))
    again = leads.load_model(tmp_path / "model.safetensors")
    assert torch.equal(weights(again), weights(model))


def test_the_best_weights_on_validation_are_kept(data: DataSplits) -> None:
    model = leads.build("coda", data.train, **SMALL)
    result = leads.fit(model, data.train, data.valid, steps=40, validate_every=5, lr=3e-2, schedule="constant")
    values = {r["step"]: r["valid"] for r in result.history}
    assert result.best_valid == min(values.values())
    assert result.best_step == min(values, key=values.__getitem__)
    with torch.no_grad():
        now = model.loss_per_environment(data.valid, model.source.table()).mean()
    assert float(now) == pytest.approx(result.best_valid)


def test_early_stopping(data: DataSplits) -> None:
    model = leads.build("erm", data.train, **SMALL)
    result = leads.fit(
        model, data.train, data.valid, steps=500, validate_every=1, patience=3, lr=0.3, schedule="constant"
    )
    assert result.history[-1]["step"] < 500


def test_every_setting_changes_something(data: DataSplits) -> None:
    def run(**settings: Any) -> torch.Tensor:
        model = leads.build("coda", data.train, **SMALL)
        leads.fit(model, data.train, steps=4, **{"validate_every": 2, "warmup": 0.0, **settings})
        return weights(model)

    base = run()
    for change in (
        {"lr": 1e-2}, {"context_lr": 1e-2}, {"schedule": "constant"}, {"warmup": 0.9}, {"betas": (0.5, 0.9)}, {"clip": 1e-3},
        {"horizons": (3,)}, {"shares": (9.0, 1, 1, 1, 1)}, {"scheduled_sampling": ScheduledSampling()}, {"batch": 1},
        {"average": 0.9}, {"weight_decay": 0.1},
    ):  # fmt: skip
        assert not torch.equal(base, run(**change)), change
    assert torch.equal(base, run())
    assert not torch.equal(run(batch=1), run(batch=1, seed=5))


def test_scheduled_sampling_cuts_where_it_restarts(data: DataSplits) -> None:
    g = torch.Generator().manual_seed(0)
    always = sampled(data.train, ScheduledSampling(start=1.0), 0, g)
    assert always.target.shape[2] == 1
    never = sampled(data.train, ScheduledSampling(start=0.0), 0, g)
    assert never.target.shape[1:3] == (data.train.n_trajectories, 19)
    some = sampled(data.train, ScheduledSampling(start=0.5), 0, g)
    assert some.observed is not None
    assert int(some.observed[0, :, :, 0].sum()) == 19 * data.train.n_trajectories
    rule = ScheduledSampling()
    assert rule.epsilon(29) == 0.99
    assert rule.epsilon(30) == pytest.approx(0.99**2)
    assert rule.epsilon(10**6) == 0


def test_horizon_schedule() -> None:
    s = TrainerSettings(steps=100, horizons=(1, 5, 0), shares=(1, 1, 2))
    assert [s.horizon(i) for i in (0, 24, 25, 49, 50, 99)] == [1, 1, 5, 5, 0, 0]


def test_divergence_names_step_and_environment_and_keeps_the_best(data: DataSplits, tmp_path: Path) -> None:
    model = leads.build("coda", data.train, **SMALL)
    with pytest.raises(DivergenceError, match=r"environment \d+ .* training step \d+"):
        leads.fit(
            model, data.train, data.valid, steps=400, lr=50.0, clip=0.0, schedule="constant", horizons=(0,),
            validate_every=1, run_dir=tmp_path,
        )  # fmt: skip
    assert bool(torch.isfinite(weights(model)).all())
    assert bool(torch.isfinite(weights(leads.load_model(tmp_path / "model.safetensors"))).all())


def test_bad_input(data: DataSplits, tmp_path: Path) -> None:
    model = leads.build("coda", data.train, **SMALL)
    with pytest.raises(SettingsError, match="Did you mean 'steps'"):
        leads.fit(model, data.train, step=3)
    with pytest.raises(UnknownNameError, match="one_cycle"):
        leads.fit(model, data.train, schedule="one-cycle")
    with pytest.raises(SettingsError, match="per horizon"):
        leads.fit(model, data.train, shares=(1.0,))
    with pytest.raises(ShapeError, match="9 environments, the data have 4"):
        leads.fit(model, data.adapt)
    with pytest.raises(ShapeError, match="built for"):
        leads.fit(model, leads.Trajectories(torch.zeros(9, 1, 3, 3), torch.arange(3, dtype=torch.float64)))
    with pytest.raises(ShapeError, match="at least two"):
        leads.fit(model, data.train.select(frames=slice(0, 1)))
    leads.fit(model, data.train, steps=2, run_dir=tmp_path)
    with pytest.raises(CheckpointError, match="lr"):
        leads.fit(model, data.train, steps=2, lr=0.5, run_dir=tmp_path)
    other = leads.build("coda", data.train, dim=3, **SMALL)
    with pytest.raises(CheckpointError, match="another model"):
        leads.fit(other, data.train, steps=2, run_dir=tmp_path)


def test_damaged_and_foreign_model_files(data: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import save_file

    model = leads.build("coda", data.train, **SMALL)
    path = tmp_path / "m.safetensors"
    leads.save_model(model, path)
    good = path.read_bytes()
    for damaged in (good[:100], good[:-10], b"", b"not a model"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"truncated|not"):
            leads.load_model(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not written by leads"):
        leads.load_model(path)
    with pytest.raises(CheckpointError, match="no file"):
        leads.load_model(tmp_path / "none.safetensors")
    path.write_bytes(good)
    monkeypatch.setattr(files, "FORMAT", 2)
    with pytest.raises(CheckpointError, match="file format 1"):
        leads.load_model(path)
    monkeypatch.undo()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        leads.save_model(model, path)
    assert path.read_bytes() == good
