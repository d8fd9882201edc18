"""A run described by typed settings: the only place that picks a device, a precision and a number of threads."""

from __future__ import annotations

import dataclasses
import datetime
import json
import platform
import sys
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import torch

from leads.adaptation import Adapted, AdaptSettings, adapt, trained
from leads.algorithms import build
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily, make
from leads.errors import CheckpointError, FileError, SettingsError, UnknownNameError
from leads.evaluation import Evaluation, evaluate
from leads.registry import nearest
from leads.training import ScheduledSampling, TrainerSettings, fit, load_model
from leads.trajectories import DataSplits, generate, load
from leads.trajectories.cache import write_whole
from leads.version import __version__

if TYPE_CHECKING:
    from leads.evaluation.report import RunReport

PRECISIONS = {"32": torch.float32, "64": torch.float64}


def _mutable(settings: type, name: str) -> type:
    """A settings class as Hydra wants its schemas: mutable, with lists in place of tuples."""
    hints = get_type_hints(settings)
    fields: list[Any] = []
    for f in dataclasses.fields(settings):
        hint = hints[f.name]
        if isinstance(f.default, tuple):
            item = float if f.name != "horizons" else int
            fields.append((f.name, list[item], field(default_factory=lambda v=f.default: list(v))))  # type: ignore[valid-type,misc]
        elif f.name == "scheduled_sampling":
            fields.append((f.name, dict[str, float] | None, field(default=None)))
        else:
            fields.append((f.name, hint, field(default=f.default)))
    return make_dataclass(name, fields)


TrainerSchema = _mutable(TrainerSettings, "TrainerSchema")
AdaptSchema = _mutable(AdaptSettings, "AdaptSchema")


@dataclass
class Named:
    """A registered thing by name, with its arguments."""

    name: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Data:
    """Which data a family is asked for."""

    seed: int = 0
    fidelity: str = "exact"


@dataclass
class Experiment:
    """Everything that determines a run."""

    family: Named = field(default_factory=Named)
    method: Named = field(default_factory=Named)
    backbone: Named = field(default_factory=Named)
    integrator: str = "rk4"
    substeps: int = 1
    data: Data = field(default_factory=Data)
    trainer: Any = field(default_factory=TrainerSchema)
    adaptation: Any = field(default_factory=AdaptSchema)
    seed: int = 0
    device: str = "auto"
    precision: str = "32"
    threads: int = 1
    progress: bool = True
    run_dir: str = "runs/${family.name}_${method.name}/seed${seed}"


def from_config(config: Any) -> Experiment:
    """An :class:`Experiment` from a composed Hydra configuration."""
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(config, resolve=True)
    return from_dict(values)  # type: ignore[arg-type]


def from_dict(values: dict[str, Any]) -> Experiment:
    """An :class:`Experiment` from plain values; unknown keys are refused with the nearest known one."""
    nested = {
        "family": Named,
        "method": Named,
        "backbone": Named,
        "data": Data,
        "trainer": TrainerSchema,
        "adaptation": AdaptSchema,
    }
    known = [f.name for f in dataclasses.fields(Experiment)]
    _refuse(values, known, "An experiment")
    made: dict[str, Any] = {}
    for key, value in values.items():
        if key in nested:
            kind = nested[key]
            _refuse(value, [f.name for f in dataclasses.fields(kind)], f"The group {key}")  # type: ignore[arg-type]
            value = kind(**value)
        made[key] = value
    return Experiment(**made)


def _refuse(values: dict[str, Any], known: list[str], what: str) -> None:
    for key in values:
        if key not in known:
            raise UnknownNameError(f"{what} has no setting {key!r}. {nearest(key, known)}")


def run_fit(experiment: Experiment, command: str = "") -> Path:
    """Train, adapt and evaluate as described; returns the run folder. A killed run resumes."""
    from omegaconf import OmegaConf

    if experiment.precision not in PRECISIONS:
        raise UnknownNameError(
            f"No precision is named {experiment.precision!r}. {nearest(experiment.precision, PRECISIONS)}"
        )
    folder = Path(experiment.run_dir)
    torch.set_num_threads(experiment.threads)
    family, data = _data(experiment)
    model = build(
        experiment.method.name,
        family,
        experiment.backbone.name,
        experiment.backbone.settings,
        method=experiment.integrator,
        substeps=experiment.substeps,
        seed=experiment.seed,
        **experiment.method.settings,
    )
    device = _device(experiment.device)
    dtype = PRECISIONS[experiment.precision]
    model.to(device=device, dtype=dtype)
    origin = {
        "leads": __version__,
        "torch": torch.__version__,
        "device": str(device)
        if device.type != "cpu"
        else f"cpu, {torch.get_num_threads()} thread(s), {platform.machine()}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command or " ".join(sys.argv),
        "seed": experiment.seed,
    }
    plain = dataclasses.asdict(experiment)
    write_whole(folder / "settings.yaml", OmegaConf.to_yaml(OmegaConf.create(plain)).encode())
    settings = _trainer(experiment)
    train, valid = data.train.to(device, dtype), data.valid.to(device, dtype)
    result = fit(model, train, valid, settings, run_dir=folder, progress=experiment.progress)
    origin["training_seconds"] = result.seconds
    write_whole(folder / "provenance.json", json.dumps(origin, indent=1).encode())
    adapted = adapt(model, data.adapt.to(device, dtype), AdaptSettings(**dataclasses.asdict(experiment.adaptation)))
    adapted.save(folder / "adapted.safetensors")
    run_evaluate(folder)
    return folder


def run_evaluate(folder: str | Path) -> dict[str, Evaluation]:
    """Evaluate a run on the test sets of its family: in-domain and adapted; writes ``evaluation.json``."""
    run = Run(folder)
    horizon = float(run.family.times[-1])
    device, dtype = _device(run.experiment.device), PRECISIONS[run.experiment.precision]
    results = {}
    for name, adapted, test in (
        ("in-domain", run.seen(), run.data.test),
        ("adaptation", run.adapted(), run.data.adapt_test),
    ):
        adapted.model.to(device=device, dtype=dtype)
        contexts = {k: v.to(device=device, dtype=dtype) for k, v in adapted.contexts.items()}
        placed = dataclasses.replace(adapted, contexts=contexts)
        results[name] = evaluate(placed, test.to(device, dtype), horizon)
    text = json.dumps({k: v.to_dict() for k, v in results.items()}, indent=1)
    write_whole(run.folder / "evaluation.json", text.encode())
    return results


def run_adapt(folder: str | Path, data: str | Path, out: str | Path | None = None) -> Adapted:
    """Adapt the model of a run to the trajectories in a file; saved beside the run unless ``out`` says where."""
    run = Run(folder)
    support = load(data)
    support = support.to(dtype=PRECISIONS[run.experiment.precision])
    adapted = adapt(run.model(), support, AdaptSettings(**dataclasses.asdict(run.experiment.adaptation)))
    adapted.save(out or run.folder / f"adapted_{Path(data).stem}.safetensors")
    return adapted


class Run:
    """A run folder."""

    def __init__(self, folder: str | Path) -> None:
        from omegaconf import OmegaConf

        self.folder = Path(folder)
        path = self.folder / "settings.yaml"
        if not path.is_file():
            raise FileError(
                f"{folder} is not a run folder (there is no {path.name} in it). Make one with: leads fit experiment=..."
            )
        self.experiment = from_config(OmegaConf.load(path))
        self._loaded: tuple[EnvironmentFamily, DataSplits] | None = None

    @property
    def family(self) -> EnvironmentFamily:
        return make(self.experiment.family.name, **self.experiment.family.settings)

    @property
    def data(self) -> DataSplits:
        """The data sets of the run, from the cache or simulated again."""
        if self._loaded is None:
            self._loaded = _data(self.experiment)
        return self._loaded[1]

    def model(self) -> DecomposedDynamics:
        """The trained model."""
        return load_model(self.folder / "model.safetensors")

    def seen(self) -> Adapted:
        """The model in its seen environments."""
        return trained(self.model(), self.data.train.parameters)

    def adapted(self) -> Adapted:
        """The model in the unseen environments of its family."""
        return Adapted.load(self.folder / "adapted.safetensors")

    def json(self, name: str) -> Any:
        """A JSON file of the run."""
        path = self.folder / name
        if not path.is_file():
            raise CheckpointError(
                f"The run {self.folder} has no {name}: it has not finished. Run leads fit on it again."
            )
        return json.loads(path.read_text())

    def report(self, title: str, others: list[Run]) -> RunReport:
        """What the report page needs, with ``others`` as further seeds of the same experiment."""
        from leads.evaluation.report import RunReport

        runs = [self, *others]
        scores = [r.json("evaluation.json") for r in runs]
        origins = [r.json("provenance.json") for r in runs]
        return RunReport(
            title=title,
            family=self.experiment.family.name,
            split=self.family.split,
            algorithm=self.experiment.method.name,
            in_domain=[Evaluation.from_dict(s["in-domain"]) for s in scores],
            adaptation=[Evaluation.from_dict(s["adaptation"]) for s in scores],
            histories=[r.json("history.json") for r in runs],
            seen=self.seen(),
            new=self.adapted(),
            test=self.data.test,
            adapt_test=self.data.adapt_test,
            seconds=[o["training_seconds"] for o in origins],
            provenance={"settings": dataclasses.asdict(self.experiment), "runs": origins},
        )


def group_seeds(folders: list[str]) -> list[list[Run]]:
    """Runs that differ only in their seed and folder, together."""
    groups: dict[str, list[Run]] = {}
    for folder in folders:
        run = Run(folder)
        same = dataclasses.asdict(run.experiment) | {"seed": 0, "run_dir": "", "progress": False}
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(run)
    return list(groups.values())


def _data(experiment: Experiment) -> tuple[EnvironmentFamily, DataSplits]:
    family = make(experiment.family.name, **experiment.family.settings)
    fidelity: Any = experiment.data.fidelity
    data = generate(family, experiment.data.seed, fidelity, dtype=PRECISIONS[experiment.precision])
    return family, data


def _trainer(experiment: Experiment) -> TrainerSettings:
    values = dataclasses.asdict(experiment.trainer) | {"seed": experiment.seed}
    for name in ("betas", "horizons", "shares"):
        values[name] = tuple(values[name])
    if values["scheduled_sampling"] is not None:
        try:
            values["scheduled_sampling"] = ScheduledSampling(**values["scheduled_sampling"])
        except TypeError as error:
            raise SettingsError(f"trainer.scheduled_sampling: {error}.") from error
    return TrainerSettings(**values)


def _device(name: str) -> torch.device:
    """The device that Lightning Fabric picks for ``auto``, ``cpu``, ``cuda`` or ``mps``."""
    from lightning_fabric import Fabric

    try:
        return Fabric(accelerator=name, devices=1).device
    except (ValueError, RuntimeError) as error:
        raise SettingsError(
            f"The device {name!r} is not to be had here: {error}. Choose device=auto or device=cpu."
        ) from error
