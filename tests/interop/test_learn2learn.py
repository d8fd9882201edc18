"""Our inner loops against learn2learn's algorithms, and its algorithms on our models and episodes."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from stand_ins import REASON, import_learn2learn
from torch import Tensor, nn

import leads
from leads.backbones import Backbone
from leads.dynamics import DecomposedDynamics
from leads.environments import Budget, EnvironmentFamily
from leads.errors import SettingsError
from leads.integrators import integrate
from leads.training import Episode, Episodes, ScheduledSampling, TrainerSettings
from leads.trajectories import DataSplits, Trajectories

l2l: Any = import_learn2learn()
if l2l is None:
    pytest.skip(REASON, allow_module_level=True)

from leads.interop.learn2learn import TrajectoryDataset, forecast_loss, learner, task_set, tasks  # noqa: E402


@pytest.fixture(scope="module")
def four(lotka: EnvironmentFamily) -> DataSplits:
    budget = Budget(train=4, test=2, valid=1, adapt=1, adapt_test=2)
    return leads.generate(replace(lotka, budget=budget), dtype=torch.float64)


def build(name: str, data: Trajectories, backbone: str = "mlp", **settings: Any) -> DecomposedDynamics:
    size = {"mlp": {"width": 6, "depth": 2}, "conv": {"width": 4}, "fno": {"width": 4, "modes": 2, "depth": 2}}
    return leads.build(name, data, backbone, size[backbone], **settings).double()


def episode_of(data: Trajectories, **settings: Any) -> Episode:
    return Episodes(data, TrainerSettings(**{"support": 1, "horizons": (5,), **settings})).draw(3)


def ours(model: DecomposedDynamics, episode: Episode) -> Tensor:
    contexts = model.source.train_contexts(model, None, episode.support, segments=episode.support_segments)
    return model.loss_per_environment(episode.query_segments, contexts).mean()


def theirs(wrapped: Any, episode: Episode, steps: int) -> Tensor:
    losses = []
    for task in tasks(episode):
        clone = wrapped.clone()
        for _ in range(steps):
            clone.adapt(forecast_loss(clone, task.support))
        losses.append(forecast_loss(clone, task.query))
    return torch.stack(losses).mean()


def assert_equal(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> None:
    for x, y in zip(a, b, strict=True):
        assert float((x - y).abs().max()) <= 1e-10 * max(1.0, float(y.abs().max()))


EPISODES: list[dict[str, Any]] = [
    {}, {"horizons": (0,)}, {"support": 0, "support_frames": 8}, {"scheduled_sampling": ScheduledSampling(start=0.3)},
    {"environments_per_step": 4},
]  # fmt: skip


@pytest.mark.parametrize("cut", EPISODES, ids=["windows", "whole", "time", "ragged", "subset"])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("name", ["maml", "anil", "meta_sgd"])
def test_meta_gradients(four: DataSplits, name: str, first_order: bool, cut: dict[str, Any]) -> None:
    model = build(name, four.train, steps=2, inner_lr=0.05, first_order=first_order)
    with torch.no_grad():
        for rate in model.source.parameters():  # learned rates, all different
            rate.copy_(
                0.02 + 0.06 * torch.rand(rate.shape, dtype=rate.dtype, generator=torch.Generator().manual_seed(1))
            )
    episode, wrapped = episode_of(four.train, **cut), learner(model)
    assert type(wrapped) is (l2l.algorithms.MetaSGD if name == "meta_sgd" else l2l.algorithms.MAML)
    mine, other = ours(model, episode), theirs(wrapped, episode, 2)
    torch.testing.assert_close(mine, other, rtol=1e-12, atol=0)
    live = list(model.parameters())
    assert len(live) == (16 if name == "meta_sgd" else 8)
    assert_equal(torch.autograd.grad(mine, live), torch.autograd.grad(other, live))


class Plain(nn.Module):
    """What a user of learn2learn would write: the backbone is a submodule, and is cloned."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x0: Tensor, times: Tensor) -> Tensor:
        return integrate(self.backbone, x0, times).movedim(0, 1)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("backbone", ["mlp", "conv", "fno"])
def test_meta_gradients_of_a_plain_module(
    four: DataSplits, diffusion: EnvironmentFamily, backbone: str, first_order: bool
) -> None:
    data = four.train if backbone == "mlp" else leads.generate(diffusion, dtype=torch.float64).train
    data = data.select(frames=slice(0, 5))
    model = build("maml", data, backbone, inner_lr=0.05, first_order=first_order)
    wrapped = l2l.algorithms.MAML(Plain(model.adapter.backbone), lr=0.05, first_order=first_order)  # type: ignore[arg-type]
    mse = lambda clone, x: (clone(x[:, 0], data.times)[:, 1:] - x[:, 1:]).square().mean()
    episode, total = episode_of(data, horizons=(0,)), torch.zeros((), dtype=torch.float64)
    for support, query in zip(episode.support.states, episode.query.states, strict=True):
        clone = wrapped.clone()
        clone.adapt(mse(clone, support))
        total = total + mse(clone, query) / data.n_environments
    live = list(model.parameters())
    assert_equal(torch.autograd.grad(ours(model, episode), live), torch.autograd.grad(total, live))


def test_relative_loss_and_masks_are_ours(four: DataSplits) -> None:
    mask = torch.rand(four.train.states.shape, generator=torch.Generator().manual_seed(0)) > 0.2
    mask[:, :, 0] = True
    data = replace(four.train, mask=mask)
    model = build("maml", data, inner_lr=0.05)
    for loss in ("mse", "relative_l2"):
        model.loss = loss
        wrapped = learner(model)
        for episode in (episode_of(data, horizons=(0,)), episode_of(data, support=2, horizons=(0,))):
            torch.testing.assert_close(ours(model, episode), theirs(wrapped, episode, 1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["maml", "meta_sgd"])
def test_learn2learn_trains_and_leads_adapts(four: DataSplits, name: str) -> None:
    random.seed(0)
    model = build(name, four.train, inner_lr=0.01)
    new = four.adapt.select(frames=slice(0, 6))
    before = leads.adapt(model, new).info["loss"]
    wrapped, source = learner(model), task_set(four.train.select(frames=slice(0, 6)), support=1, query=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        task = source.sample()
        clone = wrapped.clone()
        clone.adapt(forecast_loss(clone, task.support))
        optimizer.zero_grad()
        forecast_loss(clone, task.query).backward()
        optimizer.step()
    adapted = leads.adapt(model, new)
    assert sum(adapted.info["loss"]) < 0.4 * sum(before)
    for e, delta in enumerate(adapted.contexts["linears.0.weight"]):
        clone = wrapped.clone()
        clone.adapt(forecast_loss(clone, new.select(environments=[e])))
        moved = clone.module.moving["linears/0/weight"] - wrapped.module.moving["linears/0/weight"]
        torch.testing.assert_close(moved, delta, rtol=1e-9, atol=1e-13)


def test_task_sets(four: DataSplits) -> None:
    random.seed(0)
    source = task_set(four.train, support=1, query=2, tasks=150)
    assert isinstance(source, l2l.data.Taskset)
    drawn, supports = set(), set()
    for task in source:
        mine = four.train.initial[task.environment]
        rows = [int((mine - x).abs().sum(1).argmin()) for part in (task.support, task.query) for x in part.initial[0]]
        targets = torch.cat([task.support.target[0], task.query.target[0]])
        assert torch.equal(targets, four.train.states[task.environment, rows, 1:])
        assert len(set(rows)) == 3
        assert task.support.initial.shape[:2] == (1, 1)
        drawn.add(task.environment)
        supports.add(rows[0])
    assert drawn == set(range(9))
    assert supports == {0, 1, 2, 3}
    assert torch.equal(source[3].query.target, source[3].query.target)  # kept
    samples = l2l.data.MetaDataset(TrajectoryDataset(four.train))  # reads the classes off the samples
    assert samples.labels_to_indices == TrajectoryDataset(four.train).classes()


def test_bad_input(four: DataSplits) -> None:
    with pytest.raises(SettingsError, match=r"4 trajectories per environment.*support=2 and query=3"):
        task_set(four.train, support=2, query=3)
    with pytest.raises(SettingsError, match="at least 1, or -1"):
        task_set(four.train, support=1, query=1, tasks=0)
    for name in ("coda", "cavia_concat", "erm"):
        with pytest.raises(SettingsError, match="gradient steps on the weights themselves"):
            learner(leads.build(name, four.train))
    with pytest.raises(SettingsError, match="one environment at a time, these data hold 9"):
        forecast_loss(learner(build("maml", four.train)), four.train)
    with pytest.raises(IndexError):
        TrajectoryDataset(four.train)[36]
