"""Support and query: parted before anything is cut, drawn from the step's number and the seed alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import leads
from leads.adapters.weight_delta import WeightDelta
from leads.backbones import Backbone
from leads.contexts import InnerLoop
from leads.dynamics import DecomposedDynamics
from leads.environments import Budget, EnvironmentFamily
from leads.errors import SettingsError, ShapeError
from leads.training import ScheduledSampling, TrainerSettings
from leads.training.episodes import Episodes
from leads.trajectories import DataSplits, Trajectories


@pytest.fixture(scope="module")
def four(lotka: EnvironmentFamily) -> DataSplits:
    return leads.generate(replace(lotka, budget=Budget(train=4, test=2, valid=1, adapt=1, adapt_test=2)))


def rows(part: Trajectories, data: Trajectories) -> set[int]:
    """Which trajectories of ``data`` are in ``part``, by their first frames in environment 0."""
    return {int((data.initial[0] - x).abs().sum(1).argmin()) for x in part.initial[0]}


@pytest.mark.parametrize("batch", [0, 3])
@pytest.mark.parametrize("sampling", [None, ScheduledSampling(start=0.5)])
def test_query_trajectories_are_never_support(four: DataSplits, batch: int, sampling: ScheduledSampling | None) -> None:
    settings = TrainerSettings(support=1, batch=batch, scheduled_sampling=sampling, horizons=(3,))
    episodes, seen = Episodes(four.train, settings), set()
    for step in range(24):
        episode = episodes.draw(step)
        support, query = rows(episode.support, four.train), rows(episode.query, four.train)
        assert len(support) == 1
        assert len(query) == (batch or 4) - 1
        assert not support & query
        assert not _targets(episode.support_segments.target) & _targets(episode.query_segments.target)
        seen |= support
    assert seen == {0, 1, 2, 3}


def _targets(x: torch.Tensor) -> set[tuple[float, ...]]:
    return {tuple(v) for v in x[0].reshape(-1, x.shape[-1]).tolist()}


def test_support_by_time_ends_where_the_query_starts(four: DataSplits) -> None:
    episode = Episodes(four.train, TrainerSettings(support_frames=6, horizons=(0,))).draw(0)
    assert torch.equal(episode.support.states, four.train.states[:, :, :6])
    assert torch.equal(episode.query.states, four.train.states[:, :, 5:])
    assert torch.equal(episode.query.times, four.train.times[5:])
    assert not _targets(episode.support_segments.target) & _targets(episode.query_segments.target)


def test_draws_depend_on_step_and_seed_alone(four: DataSplits) -> None:
    draw = lambda step, seed: rows(
        Episodes(four.train, TrainerSettings(support=2, seed=seed)).draw(step).support, four.train
    )
    late = Episodes(four.train, TrainerSettings(support=2))
    for step in range(5):
        late.draw(step)
    assert rows(late.draw(7).support, four.train) == draw(7, 0)
    assert len({frozenset(draw(step, seed)) for step in range(4) for seed in range(3)}) > 1
    both = Episodes(four.train, TrainerSettings()).draw(0)
    assert both.support is both.query is four.train


def test_support_changes_training(four: DataSplits) -> None:
    def run(**settings: Any) -> torch.Tensor:
        model = leads.build("maml", four.train, backbone_settings={"width": 4}, inner_lr=0.1)
        leads.fit(model, four.train, steps=3, **settings)
        return torch.cat([p.detach().reshape(-1) for p in model.parameters()])

    runs = [run(), run(support=1), run(support=2), run(support_frames=5)]
    assert not any(torch.equal(a, b) for i, a in enumerate(runs) for b in runs[:i])
    assert torch.equal(run(support=1), runs[1])


@pytest.mark.parametrize("sampling", [None, ScheduledSampling(every=2)])
def test_a_killed_run_resumes_to_the_same_numbers(
    four: DataSplits, tmp_path: Path, fit_killed_at: Callable[..., None], sampling: ScheduledSampling | None
) -> None:
    settings = TrainerSettings(
        steps=20, validate_every=2, checkpoint_every=5, average=0.9, support=1, scheduled_sampling=sampling, seed=3
    )
    make = lambda: leads.build("meta_sgd", four.train, backbone_settings={"width": 6})
    straight, broken, resumed = make(), make(), make()
    leads.fit(straight, four.train, four.valid, settings, tmp_path / "a")
    fit_killed_at(14, broken, four.train, four.valid, settings, tmp_path / "b")
    leads.fit(resumed, four.train, four.valid, settings, tmp_path / "b")
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in straight.state_dict().items())


def test_validation_contexts_come_from_the_training_data(four: DataSplits) -> None:
    model = leads.build("cavia_film", four.train, backbone_settings={"width": 6})
    result = leads.fit(model, four.train, four.valid, steps=4, validate_every=2, support=1)
    with torch.no_grad():
        contexts = leads.trained(model, data=four.train).contexts
        value = float(model.loss_per_environment(four.valid, contexts).mean())
    assert result.best_valid == pytest.approx(value, rel=1e-6)


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return g * x.cos()


class OnceBackbone(Backbone):
    """A layer whose gradient cannot be differentiated."""

    def __init__(self, state_shape: tuple[int, ...]) -> None:
        super().__init__(state_shape)
        self.linear = nn.Linear(2, 2)

    def batched(self, ready: Any, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return _Once.apply(torch.baddbmm(ready["linear.bias"][:, None], x, ready["linear.weight"].mT))  # type: ignore[no-any-return]


def test_second_order_through_an_operator_without_second_derivatives(four: DataSplits) -> None:
    adapter = WeightDelta(lambda: OnceBackbone((2,)))
    with pytest.raises(SettingsError, match="first_order=True"):
        leads.fit(DecomposedDynamics(adapter, InnerLoop(adapter)), four.train, steps=1)
    leads.fit(DecomposedDynamics(adapter, InnerLoop(adapter, first_order=True)), four.train, steps=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"support": -1}, "support=-1"),
        ({"support": 2, "batch": 2}, "support=2, batch=2"),
        ({"support_frames": 1}, "at least two frames"),
        ({"support": 1, "support_frames": 3}, "not both"),
        ({"support": 4}, "leaves none of the 4 trajectories"),
        ({"support_frames": 20}, "leaves none of the 20 frames"),
    ],
)
def test_bad_input(four: DataSplits, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Episodes(four.train, TrainerSettings(**settings))


def test_train_and_valid_need_the_same_environments(four: DataSplits) -> None:
    model = leads.build("maml", four.train, backbone_settings={"width": 4})
    with pytest.raises(ShapeError, match="9 environments, the valid data 4"):
        leads.fit(model, four.train, four.adapt, steps=1)
