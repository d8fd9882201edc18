"""Models with a hidden state: trained, adapted, scored and saved on what is observed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pendulums as few
import pytest
import torch

import leads
from leads.adapters.linear_hyper import LinearHyper
from leads.contexts import Encoder
from leads.errors import CheckpointError, DataError, SettingsError, ShapeError
from leads.hidden import HiddenStateDynamics, build_hidden, channel_scores, check_hidden
from leads.observation import AlongTrack, Channels, Clouds
from leads.trajectories import Trajectories, observe

TRUE = {"seen": [0.8, 1.0, 1.2], "new": [0.9, 1.15]}


def test_the_hidden_velocity_is_found_and_the_angle_forecast() -> None:
    model, seen = few.fitted()
    truth = few.pendulums(TRUE["seen"], 20, seed=2)
    test = few.angles(truth)
    contexts = leads.trained(model, data=seen).contexts
    scores = check_hidden(model, contexts, test, truth)
    assert scores.channels == ("theta", "v")
    assert float(scores.correlation[:, 1].min()) > 0.97
    first = test.states[:, :, 2, None]
    still = (test.states[:, :, 3:] - first).square().mean((0, 1, 3)).sqrt()
    assert bool((scores.rmse[1:, 0] < still / 3).all())
    omega = model.adapter.physical(contexts)["omega0"]
    torch.testing.assert_close(omega, torch.tensor(TRUE["seen"]), rtol=0.12, atol=0)


def test_contexts_of_new_environments_come_from_observations() -> None:
    model, _ = few.fitted()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    support = few.angles(few.pendulums(TRUE["new"], 8, seed=3))
    adapted = leads.adapt(model, support)
    assert all(adapted.info["converged"])
    omega = model.adapter.physical(adapted.contexts)["omega0"]
    torch.testing.assert_close(omega, torch.tensor(TRUE["new"]), rtol=0.1, atol=0)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    truth = few.pendulums(TRUE["new"], 8, seed=4)
    table = leads.evaluate(adapted, few.angles(truth))
    still = truth.states[:, :, 2:, :1] - truth.states[:, :, 2, None, :1]
    assert table.scores["all"]["rmse"] < float(still.square().mean().sqrt()) / 3
    scores = check_hidden(model, adapted.contexts, few.angles(truth), truth)
    assert float(scores.correlation[:, 1].min()) > 0.95


def test_saved_and_loaded(tmp_path: Path) -> None:
    model, seen = few.fitted()
    leads.save_model(model, tmp_path / "model.safetensors")
    again = leads.load_model(tmp_path / "model.safetensors")
    assert isinstance(again, HiddenStateDynamics)
    contexts = leads.trained(model, data=seen).contexts
    x0, t = seen.first(3), seen.times[2:]
    assert torch.equal(again.rollout(x0, t, contexts), model.rollout(x0, t, contexts))
    adapted = leads.adapt(again, few.angles(few.pendulums(TRUE["new"], 2, seed=5)))
    adapted.save(tmp_path / "adapted.safetensors")
    loaded = leads.Adapted.load(tmp_path / "adapted.safetensors")
    two = few.angles(few.pendulums(TRUE["new"], 2, seed=6))
    assert torch.equal(loaded.forecast(two.first(3), t), adapted.forecast(two.first(3), t))


def test_a_damaged_description_is_refused(tmp_path: Path) -> None:
    model, _ = few.fitted()
    twin = leads.load_model(saved(model, tmp_path))
    twin.recipe["hidden"]["operator"]["names"] = ["angle"]
    with pytest.raises(CheckpointError, match="cannot be rebuilt"):
        leads.load_model(saved(twin, tmp_path))


def saved(model: HiddenStateDynamics, folder: Path) -> Path:
    path = folder / "one.safetensors"
    leads.save_model(model, path)
    return path


def test_a_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    seen = few.angles(few.pendulums(TRUE["seen"], 4, seed=0))
    make = lambda: build_hidden("coda", seen, backbone="mlp", encoder="mlp", frames=2, seed=3)
    once, again = make(), make()
    leads.fit(once, seen, steps=4, horizons=(2,), run_dir=tmp_path)
    leads.fit(again, seen, steps=4, horizons=(2,), run_dir=tmp_path)
    for name, value in once.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert isinstance(leads.load_model(tmp_path / "model.safetensors"), HiddenStateDynamics)
    other = build_hidden("coda", seen, backbone="mlp", encoder="mlp", frames=3)
    with pytest.raises(CheckpointError, match="another model"):
        leads.fit(other, seen, steps=4, horizons=(2,), run_dir=tmp_path)


@pytest.mark.parametrize(
    "algorithm",
    ["erm", "coda", "geps", "leads", "maml", "cavia_concat", "film_codes", "aphynity", "one_per_environment"],
)
def test_algorithms_run_on_what_is_observed(algorithm: str) -> None:
    seen = few.angles(few.pendulums(TRUE["seen"], 3, seed=0))
    settings = {"width": 8}
    extra = {"physics": few.PHYSICS} if algorithm == "aphynity" else {}
    steps = {"steps": 5, "solver": "gradient"} if algorithm in ("leads", "one_per_environment", "geps") else {}
    model = build_hidden(algorithm, seen, "mlp", settings, encoder="mlp", encoder_settings=settings, frames=2, **extra)
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    leads.fit(model, seen, seen, steps=2, horizons=(2,))
    assert any(not torch.equal(v, before[k]) for k, v in model.encoder.state_dict().items())
    adapted = leads.adapt(model, few.angles(few.pendulums(TRUE["new"], 1, seed=1)), **steps)
    forecast = adapted.forecast(seen.select(environments=[0, 1]).first(2), seen.times[1:])
    assert forecast.shape == (2, 3, 8, 1)
    assert bool(torch.isfinite(forecast).all())


def test_the_encoder_starts_from_the_state_that_is_seen() -> None:
    seen = few.angles(few.pendulums(TRUE["seen"], 3, seed=0))
    model = build_hidden("erm", seen, "mlp", encoder="mlp", frames=2)
    for p in model.encoder.network.parameters():
        p.data.zero_()
    state = model.state(seen.first(2), seen.times[1], {})
    assert torch.equal(state[..., 0], seen.states[:, :, 1, 0])
    assert not bool(state[..., 1].any())
    # and its forecast is observed as the data are.
    assert torch.equal(model.rollout(seen.first(2), seen.times[1:], {})[:, :, 0], seen.states[:, :, 1])


def fields(n: int = 2) -> Trajectories:
    system = leads.make("shallow_water", size=10).system
    x = torch.randn(2, n, 6, 3, 10, 10, generator=torch.Generator().manual_seed(0))
    return Trajectories(x, torch.arange(6.0).double() * 3600, channels=system.channels, grid=system.grid)


@pytest.mark.parametrize(
    "operator",
    [Channels("h") | Clouds(0.4, 2e5), Channels("h") | AlongTrack(window=7200.0, repeat=36000.0)],
    ids=["clouds", "tracks"],
)
def test_gaps_and_tracks(operator) -> None:
    seen = observe(fields(), operator)
    assert seen.mask is not None
    assert not bool(seen.mask.all())
    model = build_hidden("coda", seen, "conv", {"width": 4, "factor": 1e-6}, frames=2, encoder_settings={"width": 4})
    result = leads.fit(model, seen, seen, steps=2, horizons=(2,))
    assert result.best_valid is not None
    adapted = leads.adapt(model, seen.select(environments=[0]), iterations=2)
    forecast = adapted.forecast(seen.select(environments=[0]).first(2), seen.times[1:])
    assert forecast.shape == (1, 2, 5, *seen.state_shape)
    assert bool(torch.isfinite(forecast).all())
    # What stands where nothing was seen is of no effect.
    filled = replace(seen, states=torch.where(seen.mask, seen.states, torch.nan))
    x0 = filled.first(2)
    contexts = model.source.table()
    loss = model.loss_per_environment(filled, contexts)
    loss.sum().backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in model.parameters())
    assert bool(torch.isfinite(model.rollout(x0, seen.times[1:], contexts)).all())


def test_penalties_see_the_encoders_states() -> None:
    seen = few.angles(few.pendulums(TRUE["seen"], 3, seed=0))
    model = build_hidden("aphynity", seen, "mlp", encoder="mlp", frames=3, physics=few.PHYSICS)
    contexts = model.source.train_contexts(model, None, seen)
    encoded = model.encoded(seen, contexts)
    assert encoded.states.shape == (3, 3, 3, 2)
    assert encoded.times.tolist() == seen.times[2::3].tolist()
    one = model.state(seen.states[:, :, 3:6], seen.times[5], contexts)
    torch.testing.assert_close(encoded.states[:, :, 1], one)
    expected = (model.adapter.learned_size(contexts, encoded) / model.adapter.multiplier).mean()
    torch.testing.assert_close(model.penalty(contexts, seen), expected)


def test_scores_of_channels() -> None:
    truth = torch.randn(2, 3, 4, 2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    states = 2 * truth + 1
    states[:, :, :, 1] = truth[:, :, :, 1] + noise[:, :, :, 1]
    scores = channel_scores(states, truth, torch.arange(4.0), ("a", "b"))
    torch.testing.assert_close(scores.correlation[:, 0], torch.ones(4, dtype=torch.float64))
    both = torch.stack([states[:, :, 2, 1].flatten(), truth[:, :, 2, 1].flatten()])
    torch.testing.assert_close(scores.correlation[2, 1], torch.corrcoef(both)[0, 1])
    torch.testing.assert_close(scores.rmse[2, 1], noise[:, :, 2, 1].square().mean().sqrt())
    assert "correlation" in str(scores)


def test_bad_input() -> None:
    full = few.pendulums(TRUE["seen"], 2, seed=0)
    seen = few.angles(full)
    with pytest.raises(DataError, match="no observation operator"):
        build_hidden("erm", full)
    with pytest.raises(SettingsError, match="one for each channel"):
        build_hidden("erm", seen, "mlp", encoder="mlp", scale=(1.0,))
    with pytest.raises(SettingsError, match="at least one observation"):
        build_hidden("erm", seen, "mlp", encoder="mlp", frames=0)
    with pytest.raises(SettingsError, match="reads whole states"):
        build_hidden("amortised", seen, "mlp", encoder="mlp")
    with pytest.raises(SettingsError, match="plain values"):
        build_hidden("erm", seen, "mlp", {"width": torch.ones(())}, encoder="mlp")
    uneven = replace(seen, times=seen.times**2)
    with pytest.raises(DataError, match="equally far apart"):
        build_hidden("erm", uneven, "mlp", encoder="mlp")
    model = build_hidden("erm", seen, "mlp", encoder="mlp", frames=3)
    with pytest.raises(ShapeError, match=r"first\(3\)"):
        model.rollout(seen.initial, seen.times, {})
    with pytest.raises(ShapeError, match=r"\(C, \*X\) = \(2,\)"):
        leads.fit(model, full, steps=1)
    with pytest.raises(SettingsError, match="initial='given'"):
        leads.adapt(few.fitted()[0], seen, initial="estimated")
    with pytest.raises(DataError, match="different times"):
        check_hidden(model, {}, seen, full.select(frames=slice(0, 5)))
    with pytest.raises(SettingsError, match="hidden part"):
        check_hidden(leads.build("erm", full), {}, seen, full)


def test_a_source_of_the_observed_shape_may_read_frames() -> None:
    seen = few.angles(few.pendulums(TRUE["seen"], 2, seed=0))
    plain = build_hidden("coda", seen, "mlp", encoder="mlp", frames=2, conditioned=False)
    adapter = plain.adapter
    assert isinstance(adapter, LinearHyper)
    source = Encoder(adapter, seen.state_shape, frames=4)
    model = HiddenStateDynamics(adapter, source, plain.encoder, plain.operator, plain.spacing)
    leads.fit(model, seen, seen, steps=2, horizons=(2,))
    adapted = leads.adapt(model, few.angles(few.pendulums(TRUE["new"], 1, seed=1)))
    assert adapted.info["solver"] == "none"
