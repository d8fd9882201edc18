"""learn2learn's MAML, MetaSGD and task data sets, with leads' models and episodes::

    wrapped = learner(model)                                  # model = leads.build("maml" or "anil" or "meta_sgd", ...)
    for task in task_set(data.train, support=1, query=3, tasks=100):
        clone = wrapped.clone()
        clone.adapt(forecast_loss(clone, task.support))       # one inner step
        forecast_loss(clone, task.query).backward()

The weights are those of ``model``, so that what learn2learn trains is adapted and evaluated by leads. The same holds
the other way: an inner loop of leads gives learn2learn's meta-gradients (``tests/interop`` holds them equal), all
environments at once instead of one after another.

``tools/install_learn2learn.sh`` builds learn2learn 0.2.0 (MIT licence), which does not install from the index on
Python >= 3.11.

Source: Arnold et al., "learn2learn: a library for meta-learning research", 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from leads.adapters.weight_delta import WeightDelta
from leads.backbones import Backbone
from leads.contexts import InnerLoop
from leads.dynamics import DecomposedDynamics, error_size, forecast_error
from leads.errors import SettingsError
from leads.integrators import integrate
from leads.training.episodes import Episode
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments, whole

#: What learn2learn imports beside what leads installs.
_IMPORTED = ("gym", "requests", "torchvision", "tqdm")


class Forecaster(nn.Module):
    """A backbone and its integrator as one module: what learn2learn clones and adapts.

    Its parameters are the weights that take inner steps. Weights that do not (the body, where only the head adapts)
    stay with the backbone: gradients reach them, but ``parameters()`` of this module does not list them and ``to`` does
    not move them.

    Args:
        backbone: gives the weights, which are shared with it.
        moving: names of the weights that take inner steps; all by default.
        method, substeps, loss: as for :class:`leads.dynamics.DecomposedDynamics`.
    """

    def __init__(
        self,
        backbone: Backbone,
        moving: Sequence[str] | None = None,
        method: str = "rk4",
        substeps: int = 1,
        loss: str = "mse",
    ) -> None:
        super().__init__()
        weights = backbone.own_weights()
        names = list(weights) if moving is None else list(moving)
        self.method, self.substeps, self.loss = method, substeps, loss
        # In a tuple, so that it is no submodule, which learn2learn would clone.
        self._backbone = (backbone,)
        # A ParameterDict refuses dots.
        self.moving = nn.ParameterDict({name.replace(".", "/"): weights[name] for name in names})

    def forward(self, x0: Tensor, times: Tensor) -> Tensor:
        """Forecast from initial states ``(..., C, *X)``: states ``(..., T, C, *X)``, the first frame being ``x0``.

        ``times`` has shape ``(T,)``, or ``(T, 1, N)`` where each of N states has its own, as in segments.
        """
        (backbone,) = self._backbone
        shape = backbone.state_shape
        leading = x0.shape[: x0.ndim - len(shape)]
        weights = backbone.own_weights() | {name.replace("/", "."): w for name, w in self.moving.items()}
        ready = backbone.ready({name: w.unsqueeze(0) for name, w in weights.items()})
        states = integrate(
            lambda t, x: backbone.batched(ready, t, x),
            x0.reshape(1, -1, *shape),
            times,
            method=self.method,
            substeps=self.substeps,
        )
        return states.movedim(0, 2).reshape(*leading, len(times), *shape)


@dataclass(frozen=True)
class Task:
    """One environment of an episode: inner steps are taken on the support, the outer loss on the query.

    Attributes:
        environment: its row in the data (or in the pool of fresh environments) that the task came from.
        support, query: segments with E = 1.
    """

    environment: int
    support: Segments
    query: Segments


def learner(model: DecomposedDynamics) -> Any:
    """learn2learn's ``MAML``, or ``MetaSGD`` where the model learns its rates, around a model's backbone.

    Weights, learned rates, inner rate and order are the model's. learn2learn takes as many inner steps as ``adapt`` is
    called: ``model.source.steps`` calls give what leads does. Where only some layers move (``moving``), the learner's
    ``parameters()`` are those; train all with ``model.parameters()``.

    Raises:
        SettingsError: learn2learn is not there, or a model whose contexts are not displacements of the weights found by
            an inner loop from the shared ones, or one that sees past frames.
    """
    adapter, source = model.adapter, model.source
    if type(adapter) is not WeightDelta or not isinstance(source, InnerLoop) or len(source.start):
        raise SettingsError(
            f"learn2learn takes gradient steps on the weights themselves, from shared ones; this model has the adapter "
            f"{type(adapter).__name__} and the source {type(source).__name__}"
            f"{' with a learned start' if isinstance(source, InnerLoop) and len(source.start) else ''}. Build one of "
            "'maml', 'anil' or 'meta_sgd', or wrap a Forecaster around its backbone yourself."
        )
    if model.history > 1:
        raise SettingsError(
            f"learn2learn's learner forecasts from one state; this model sees history={model.history} frames. Use history=1."
        )
    algorithms = _learn2learn().algorithms
    module = Forecaster(adapter.backbone, adapter.moving, model.method, model.substeps, model.loss)
    if source.rates:
        rates = nn.ParameterList([source.rates[name] for name in module.moving])
        return algorithms.MetaSGD(module, lrs=rates, first_order=source.first_order)
    return algorithms.MAML(module, lr=source.lr, first_order=source.first_order)


def forecast_loss(learner: nn.Module, data: Segments | Trajectories) -> Tensor:
    """Data loss of a learner, its clone or a :class:`Forecaster` in one environment: a scalar, as leads takes it.

    Args:
        learner: what forecasts.
        data: segments or trajectories with E = 1.
    """
    segments = whole(data) if isinstance(data, Trajectories) else data
    if segments.initial.shape[0] != 1:
        raise SettingsError(
            f"learn2learn adapts one environment at a time, these data hold {segments.initial.shape[0]} (axis 0). Take "
            "tasks(episode), or data.select(environments=[e])."
        )
    error = forecast_error(learner(segments.initial, segments.times), segments)
    return error_size(error, segments, learner.loss)[0]  # type: ignore[arg-type]


def tasks(episode: Episode) -> list[Task]:
    """The environments of an episode (:class:`leads.training.Episodes`) one by one."""
    rows = range(episode.query.n_environments) if episode.environments is None else episode.environments.tolist()
    parts = zip(rows, _rows(episode.support_segments), _rows(episode.query_segments), strict=True)
    return [Task(environment, support, query) for environment, support, query in parts]


class TrajectoryDataset(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Trajectories as samples, their environment as class: ``(states (T, C, *X), environment)``, E N of them.

    What learn2learn's ``MetaDataset`` and task transforms take; :func:`task_set` is ready made.
    """

    def __init__(self, data: Trajectories) -> None:
        self.data = data

    def __len__(self) -> int:
        return self.data.n_environments * self.data.n_trajectories

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} trajectories, number {index} is asked for.")
        environment, trajectory = divmod(index, self.data.n_trajectories)
        return self.data.states[environment, trajectory], environment

    def classes(self) -> dict[int, list[int]]:
        """The samples of each environment: learn2learn's ``labels_to_indices``."""
        n = self.data.n_trajectories
        return {e: list(range(e * n, (e + 1) * n)) for e in range(self.data.n_environments)}


def task_set(data: Trajectories, support: int, query: int, tasks: int = -1) -> Any:
    """learn2learn's ``Taskset`` over environments: each :class:`Task` is one, drawn with its trajectories.

    Draws come from Python's global ``random``, as everywhere in learn2learn.

    Args:
        data: trajectories of the seen environments.
        support, query: trajectories of a task on either side; no trajectory is on both.
        tasks: how many are drawn and kept; -1 draws anew without end.

    Raises:
        SettingsError: learn2learn is not there, or the data hold fewer trajectories per environment than a task takes.
    """
    if support < 1 or query < 1 or support + query > data.n_trajectories:
        raise SettingsError(
            f"A task takes support >= 1 and query >= 1 of the {data.n_trajectories} trajectories per environment, got "
            f"support={support} and query={query}."
        )
    if tasks < -1 or tasks == 0:
        raise SettingsError(f"tasks counts the tasks drawn: at least 1, or -1 for an endless stream; got {tasks}.")
    sets = _learn2learn().data
    dataset = TrajectoryDataset(data)
    meta = sets.MetaDataset(dataset, labels_to_indices=dataset.classes())
    transforms = [sets.transforms.NWays(meta, n=1), sets.transforms.KShots(meta, k=support + query)]

    def collate(indices: list[int]) -> Task:
        environment, rows = indices[0] // data.n_trajectories, [i % data.n_trajectories for i in indices]
        part = lambda which: whole(data.select(environments=[environment], trajectories=which))  # noqa: E731
        return Task(environment, part(rows[:support]), part(rows[support:]))

    return sets.Taskset(meta, transforms, num_tasks=tasks, task_collate=collate)


def _rows(segments: Segments) -> list[Segments]:
    """Segments of each environment, with E = 1."""
    observed = segments.observed
    shared = observed is None or observed.shape[0] == 1
    return [
        Segments(
            segments.initial[e : e + 1],
            segments.target[e : e + 1],
            segments.times,
            observed if shared or observed is None else observed[e : e + 1],
        )
        for e in range(segments.initial.shape[0])
    ]


def _learn2learn() -> Any:
    try:
        import learn2learn
    except ModuleNotFoundError as error:
        if error.name == "learn2learn":
            raise SettingsError(
                "learn2learn is not installed. Run tools/install_learn2learn.sh PYTHON from a checkout of leads; it needs "
                "a C compiler and the package index."
            ) from error
        missing = [name for name in _IMPORTED if find_spec(name) is None] or [str(error.name)]
        raise SettingsError(
            f"learn2learn is installed, but not all that it imports: pip install {' '.join(missing)}."
        ) from error
    return learn2learn
