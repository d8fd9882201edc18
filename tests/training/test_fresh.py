"""Batches of environments, and environments drawn afresh: shares, draws, resumption, what is refused, what is learned."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import leads
from leads.environments import Box, Channel, EnvironmentFamily, Parameter, System
from leads.errors import CheckpointError, DivergenceError, SettingsError
from leads.training import Episodes, ScheduledSampling, TrainerSettings
from leads.training.files import read_tensors, write_tensors
from leads.training.fresh import FreshEnvironments
from leads.trajectories import DataSplits

SMALL: dict[str, Any] = {"backbone_settings": {"width": 6}}


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize("settings", [{}, {"support": 1}, {"scheduled_sampling": ScheduledSampling()}, {"batch": 1}])
def test_every_environment_gets_its_share(data: DataSplits, settings: dict[str, Any]) -> None:
    episodes = Episodes(data.train, TrainerSettings(environments_per_step=3, horizons=(2,), **settings))
    counts, pairs, steps = torch.zeros(9), torch.zeros(9, 9), 600
    for step in range(steps):
        episode = episodes.draw(step)
        rows = episode.environments
        assert rows is not None
        assert len(set(rows.tolist())) == 3
        assert torch.equal(episode.query.parameters, data.train.parameters[rows])  # type: ignore[index, arg-type]
        assert episode.support.n_environments == len(episode.query_segments.initial) == 3
        counts[rows] += 1
        pairs[rows[0], rows[1]] += 1
    sigma = (steps * 1 / 3 * 2 / 3) ** 0.5
    assert float((counts - steps / 3).abs().max()) < 4 * sigma
    assert int((pairs > 0).sum()) >= 25  # of 28: subsets, not fixed groups


def test_a_row_of_a_table_moves_only_when_drawn(data: DataSplits) -> None:
    model = leads.build("coda", data.train, spread=0.1, **SMALL)
    before = model.source.table()["code"].detach().clone()
    settings = TrainerSettings(steps=1, environments_per_step=2, schedule="constant", seed=4)
    rows = Episodes(data.train, settings).draw(0).environments
    leads.fit(model, data.train, settings=settings)
    moved = (model.source.table()["code"].detach() != before).any(1)
    assert rows is not None
    assert moved.nonzero()[:, 0].tolist() == rows.tolist()


@pytest.mark.parametrize("name", ["erm", "coda", "geps", "leads", "ncf", "maml", "anil", "meta_sgd", "cavia_film"])
def test_methods_train_on_subsets_and_on_fresh_environments(
    data: DataSplits, lotka: EnvironmentFamily, name: str
) -> None:
    model = leads.build(name, data.train, **SMALL)
    start = weights(model)
    leads.fit(model, data.train, data.valid, steps=2, environments_per_step=4, horizons=(2,))
    assert not torch.equal(weights(model), start)
    fresh: dict[str, Any] = {"steps": 2, "fresh_environments": 5, "horizons": (2,), "family": lotka}
    if model.source.per_environment:
        with pytest.raises(SettingsError, match=r"keeps a context for each seen environment.*inner loop.*encoder"):
            leads.fit(model, data.train, data.valid, **fresh)
    else:
        leads.fit(model, data.train, data.valid, **fresh)


def test_pools_are_new_environments_of_the_family(data: DataSplits, lotka: EnvironmentFamily) -> None:
    settings = TrainerSettings(fresh_environments=6, fresh_every=4, seed=2)
    stream, box = FreshEnvironments(lotka, data.train, settings), lotka.distribution
    first, second = stream.at(3), stream.at(4)
    assert stream.at(0) is not first  # one is held, made again to the same numbers
    assert torch.equal(stream.at(0).states, first.states)
    assert first.states.shape == (6, 2, 20, 2)
    assert (first.states.dtype, first.attributes["fidelity"]) == (torch.float32, "exact")
    assert not torch.equal(first.parameters, second.parameters)  # type: ignore[arg-type]
    assert not torch.equal(first.initial, second.initial)
    assert torch.equal(first.initial[0], first.initial[5])  # as the family has it
    apart = FreshEnvironments(replace(lotka, shared_initial_states=False), data.train, settings).at(3)
    assert len(apart.initial.reshape(-1, 2).unique(dim=0)) == 12
    other = FreshEnvironments(lotka, data.train, replace(settings, seed=3)).at(3)
    assert not torch.equal(first.parameters, other.parameters)  # type: ignore[arg-type]
    rows = torch.cat([stream.pool(k).parameters for k in range(40)])  # type: ignore[misc]
    low, high = torch.tensor(box.low).double(), torch.tensor(box.high).double()
    assert bool(((rows >= low) & (rows <= high)).all())
    assert len(rows.unique(dim=0)) == 240
    middle, width = (low + high) / 2, high - low
    assert float((rows.mean(0) - middle).abs().max()) < 4 * float(width.max()) / (12 * 240) ** 0.5
    p, x0 = second.parameters[4], second.initial[4, 1].double()  # type: ignore[index]
    field = lambda t, x: lotka.system.rhs(torch.tensor(t), torch.from_numpy(x), p).numpy()
    truth = solve_ivp(field, (0, 9.5), x0.numpy(), "DOP853", second.times.numpy(), rtol=1e-10, atol=1e-12).y.T
    torch.testing.assert_close(second.states[4, 1].double(), torch.from_numpy(truth), rtol=1e-5, atol=1e-5)


def test_fresh_episodes_are_parted_and_cut_like_others(data: DataSplits, lotka: EnvironmentFamily) -> None:
    settings = TrainerSettings(fresh_environments=6, fresh_every=2, environments_per_step=4, support=1, horizons=(3,))
    episodes = Episodes(data.train, settings, lotka)
    seen = set()
    for step in range(6):
        episode = episodes.draw(step)
        assert episode.environments is None
        assert episode.support.states.shape == episode.query.states.shape == (4, 1, 20, 2)
        assert not torch.equal(episode.support.initial, episode.query.initial)
        assert episode.query_segments.target.shape[2] == 3
        seen |= {tuple(p) for p in episode.query.parameters.tolist()}  # type: ignore[union-attr]
    assert 12 < len(seen) <= 18
    whole = Episodes(data.train, replace(settings, support=0, environments_per_step=0), lotka)
    assert whole.draw(0) is whole.draw(1)
    assert not torch.equal(whole.draw(1).query.states, whole.draw(2).query.states)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("meta_sgd", {"fresh_environments": 6, "fresh_every": 3, "environments_per_step": 4, "support": 1}),
        ("maml", {"fresh_environments": 3, "fresh_every": 4, "scheduled_sampling": ScheduledSampling(every=2)}),
        ("coda", {"environments_per_step": 4, "batch": 1}),
    ],
)
def test_a_killed_run_resumes_to_the_same_numbers(
    data: DataSplits,
    lotka: EnvironmentFamily,
    tmp_path: Path,
    fit_killed_at: Callable[..., None],
    name: str,
    settings: dict[str, Any],
) -> None:
    def run(folder: str) -> torch.nn.Module:
        model = leads.build(name, data.train, **SMALL)
        leads.fit(model, data.train, data.valid, chosen, tmp_path / folder, family=lotka)
        return model

    chosen = TrainerSettings(steps=14, validate_every=2, checkpoint_every=4, average=0.9, seed=3, **settings)
    straight = run("a")
    broken = leads.build(name, data.train, **SMALL)
    fit_killed_at(10, broken, data.train, data.valid, chosen, tmp_path / "b", family=lotka)
    assert torch.equal(weights(run("b")), weights(straight))


def test_a_checkpoint_from_before_these_settings_is_resumed(data: DataSplits, tmp_path: Path) -> None:
    def run(**settings: Any) -> torch.nn.Module:
        model = leads.build("coda", data.train, **SMALL)
        leads.fit(model, data.train, data.valid, steps=4, validate_every=2, run_dir=tmp_path, **settings)
        return model

    done, path = run(), tmp_path / "checkpoint.safetensors"
    tensors, description = read_tensors(path, "checkpoint")
    for name in ("environments_per_step", "fresh_environments", "fresh_every"):
        del description["settings"][name]
    write_tensors(path, tensors, description, "checkpoint")
    assert torch.equal(weights(run()), weights(done))
    with pytest.raises(CheckpointError, match="environments_per_step: 0 there, 2 here"):
        run(environments_per_step=2)


@pytest.mark.parametrize(
    ("name", "settings"), [("maml", {"inner_lr": 0.01}), ("cavia_concat", {"inner_lr": 0.1, "steps": 2})]
)
def test_fresh_environments_teach_to_adapt_to_unseen_ones(
    data: DataSplits, lotka: EnvironmentFamily, name: str, settings: dict[str, Any]
) -> None:
    short = lambda part: part.select(frames=slice(0, 6))
    model = leads.build(name, lotka, backbone_settings={"width": 16}, **settings)

    def query_loss() -> float:
        contexts = leads.adapt(model, short(data.adapt)).contexts
        with torch.no_grad():
            return float(model.loss_per_environment(short(data.adapt_test), contexts).mean())

    before = query_loss()
    leads.fit(
        model, short(data.train), steps=100, lr=1e-2, horizons=(2, 0), support=1, family=lotka,
        fresh_environments=16, fresh_every=10, environments_per_step=8,
    )  # fmt: skip
    assert query_loss() < 0.3 * before


def test_divergence_names_the_environment(data: DataSplits, lotka: EnvironmentFamily) -> None:
    settings = TrainerSettings(steps=1, environments_per_step=1, horizons=(0,), support=1, seed=4)
    row = Episodes(data.train, settings).draw(0).environments
    assert row is not None
    assert int(row) > 0  # else its place in the batch would do
    wild = leads.build("maml", data.train, steps=4, inner_lr=1e6, first_order=True, **SMALL)
    with pytest.raises(DivergenceError, match=f"inner loop of environment {int(row)} left"):
        leads.fit(wild, data.train, settings=settings)
    with pytest.raises(DivergenceError, match=r"step 0 \(environments counted among the fresh ones"):
        leads.fit(wild, data.train, settings=replace(settings, fresh_environments=3), family=lotka)


class Explosion(System):
    """x' = r x^2 from 1: infinite at t = 1 / r."""

    channels = (Channel("x"),)
    parameters = (Parameter("r", "1/time", 0.0, 10.0),)

    def rhs(self, t: torch.Tensor, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        return p * x.square()

    def sample_x0(self, n: int, generator: np.random.RandomState) -> torch.Tensor:
        return torch.ones(n, 1, dtype=torch.float64)


def test_a_draw_that_blows_up_is_named(lotka: EnvironmentFamily) -> None:
    quiet = torch.tensor([[0.1]], dtype=torch.float64)
    times = torch.linspace(0, 2, 5, dtype=torch.float64)
    wild = replace(
        lotka,
        name="explosion",
        system=Explosion(),
        seen=quiet,
        unseen=quiet,
        times=times,
        distribution=Box((3.0,), (3.0,)),
    )
    stream = FreshEnvironments(wild, leads.generate(wild).train, TrainerSettings(fresh_environments=2))
    with pytest.raises(DivergenceError, match=r"fresh environments of pool 0.*r = 3.*fresh_environments=0"):
        stream.pool(0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"environments_per_step": -1}, "environments_per_step"),
        ({"fresh_environments": -2}, "fresh_environments"),
        ({"fresh_every": 0}, "fresh_every"),
        ({"environments_per_step": 10}, "more environments than the 9 of the data"),
        ({"environments_per_step": 10, "fresh_environments": 8}, "more environments than the 8 fresh ones"),
        ({"fresh_environments": 8}, r"family=leads\.make"),
    ],
)
def test_bad_input(data: DataSplits, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Episodes(data.train, TrainerSettings(**settings))


def test_the_family_must_be_that_of_the_data(data: DataSplits, diffusion: EnvironmentFamily) -> None:
    with pytest.raises(SettingsError, match=r"'diffusion'.*'lotka_volterra'"):
        Episodes(data.train, TrainerSettings(fresh_environments=2), diffusion)


def test_a_run_asks_for_them_by_configuration(tmp_path: Path) -> None:
    from leads.cli.hydra import compose
    from leads.experiment import run_fit

    experiment = compose(
        ["experiment=lotka_volterra_cavia_concat", "trainer.steps=4", "trainer.validate_every=2", "trainer.horizons=[2]",
         "trainer.fresh_environments=6", "trainer.fresh_every=2", "trainer.environments_per_step=3",
         "backbone.settings.width=8", "progress=false", f"run_dir={tmp_path / 'run'}"]
    )  # fmt: skip
    scores = json.loads((run_fit(experiment) / "evaluation.json").read_text())
    assert set(scores) == {"in-domain", "adaptation"}
