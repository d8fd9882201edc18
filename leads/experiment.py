"""A run described by typed settings: the only place that picks a device, a precision and a number of threads."""

from __future__ import annotations

import dataclasses
import datetime
import json
import platform
import subprocess
import sys
from dataclasses import dataclass, field, make_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

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


def _schema(settings: type, without: tuple[str, ...] = ()) -> type:
    """A settings class as Hydra wants its schemas: mutable, with lists in place of tuples.

    A nested class that may be ``None`` becomes ``Any``: OmegaConf cannot merge a mapping into it. It is checked when
    the settings are made.
    """
    hints = get_type_hints(settings)
    fields: list[Any] = []
    for f in dataclasses.fields(settings):
        hint, default = hints[f.name], f.default
        if f.name in without:
            continue
        if get_origin(hint) is tuple:
            made: Any = field(default_factory=partial(list, default))  # type: ignore[call-overload]
            fields.append((f.name, list[get_args(hint)[0]], made))  # type: ignore[misc]
        elif any(dataclasses.is_dataclass(kind) for kind in get_args(hint)):
            fields.append((f.name, Any, field(default=default)))
        else:
            fields.append((f.name, hint, field(default=default)))
    return make_dataclass(f"{settings.__name__}Schema", fields)


# A run has one seed, which is the trainer's too.
TrainerSchema = _schema(TrainerSettings, without=("seed",))
AdaptSchema = _schema(AdaptSettings)


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
    """An :class:`Experiment` from a composed Hydra configuration or a settings file that was read."""
    from omegaconf import OmegaConf

    return from_dict(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]


def from_dict(values: dict[str, Any]) -> Experiment:
    """An :class:`Experiment` from plain values.

    Raises:
        UnknownNameError: an unknown key; the nearest known one is offered.
        SettingsError: a value of the wrong type.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    schema = OmegaConf.structured(Experiment)
    _refuse(values, list(schema), "An experiment")
    for group in ("family", "method", "backbone", "data", "trainer", "adaptation"):
        _refuse(values.get(group, {}), list(schema[group]), f"The group {group}")
    try:
        return OmegaConf.to_object(OmegaConf.merge(schema, values))  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise SettingsError(f"{error.full_key}: {str(error).splitlines()[0]}.") from error


def _refuse(values: Any, known: list[Any], what: str) -> None:
    if not isinstance(values, dict):
        raise SettingsError(f"{what} needs named settings, got {values!r}.")
    for key in values:
        if key not in known:
            raise UnknownNameError(f"{what} has no setting {key!r}. {nearest(str(key), known)}")


def run_fit(experiment: Experiment, command: str = "") -> Path:
    """Train, adapt and evaluate as described; returns the run folder. A killed run resumes.

    Raises:
        SettingsError: settings out of range, or a run folder that holds another experiment.
        LeadsError: whatever training, adaptation and evaluation raise.
    """
    from omegaconf import OmegaConf

    _check(experiment)
    folder = Path(experiment.run_dir)
    settings, adaptation = _trainer(experiment), _adaptation(experiment)
    _claim(folder, experiment)
    torch.set_num_threads(experiment.threads)
    device, dtype = _place(experiment)
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
    ).to(device, dtype)
    plain = dataclasses.asdict(experiment)
    write_whole(folder / "settings.yaml", OmegaConf.to_yaml(OmegaConf.create(plain)).encode())
    origin = _origin(experiment, device, command)
    train, valid = data.train.to(device, dtype), data.valid.to(device, dtype)
    result = fit(model, train, valid, settings, run_dir=folder, progress=experiment.progress)
    origin["training_seconds"] = result.seconds
    write_whole(folder / "provenance.json", json.dumps(origin, indent=1).encode())
    adapt(model, data.adapt.to(device, dtype), adaptation).save(folder / "adapted.safetensors")
    run_evaluate(folder)
    return folder


def run_evaluate(folder: str | Path) -> dict[str, Evaluation]:
    """Evaluate a run on the test sets of its family: in-domain and adapted; writes ``evaluation.json``."""
    run = Run(folder)
    horizon = float(run.family.times[-1])
    device, dtype = _place(run.experiment)
    results = {
        name: evaluate(run.placed(adapted), test.to(device, dtype), horizon)
        for name, adapted, test in (
            ("in-domain", run.seen(), run.data.test),
            ("adaptation", run.adapted(), run.data.adapt_test),
        )
    }
    text = json.dumps({k: v.to_dict() for k, v in results.items()}, indent=1)
    write_whole(run.folder / "evaluation.json", text.encode())
    return results


def run_adapt(folder: str | Path, data: str | Path, out: str | Path | None = None) -> Adapted:
    """Adapt the model of a run to the trajectories in a file; saved beside the run unless ``out`` says where."""
    run = Run(folder)
    device, dtype = _place(run.experiment)
    support = load(data).to(device, dtype)
    adapted = adapt(run.model().to(device, dtype), support, _adaptation(run.experiment))
    adapted.save(out or run.folder / f"adapted_{Path(data).stem}.safetensors")
    return adapted


def _check(experiment: Experiment) -> None:
    """Refuse what Hydra's types cannot."""
    if experiment.precision not in PRECISIONS:
        raise UnknownNameError(
            f"No precision is named {experiment.precision!r}. {nearest(experiment.precision, PRECISIONS)}"
        )
    if experiment.threads < 1:
        raise SettingsError(f"threads must be at least 1, got {experiment.threads}.")


def _claim(folder: Path, experiment: Experiment) -> None:
    """Refuse to mix two experiments in one run folder; the same one resumes there."""
    if not (folder / "settings.yaml").is_file():
        return
    there, here = _same(Run(folder).experiment), _same(experiment)
    changed = [
        f"{key}: {there.get(key)} there, {here.get(key)} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    if changed:
        raise SettingsError(
            f"{folder} holds a run with other settings ({'; '.join(changed)}). Choose another run_dir, or delete that one."
        )


def _same(experiment: Experiment) -> dict[str, Any]:
    """All settings that determine a run's numbers, by their dotted names."""
    plain = dataclasses.asdict(experiment)
    return {k: v for k, v in _dotted(plain).items() if k not in ("run_dir", "progress", "threads", "device")}


def _dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def _origin(experiment: Experiment, device: torch.device, command: str) -> dict[str, Any]:
    """What made a run: versions, commit, machine, date, command, seed."""
    cpu = f"cpu, {torch.get_num_threads()} thread(s), {platform.machine()}"
    return {
        "leads": __version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "device": cpu if device.type == "cpu" else str(device),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command or " ".join(sys.argv),
        "seed": experiment.seed,
    }


def _commit() -> str | None:
    """The commit of the checkout that leads runs from, ``-dirty`` where it was changed since; ``None`` elsewhere."""
    package = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(package), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != package.parent:
            return None
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", str(package)) else "")
    except (OSError, subprocess.CalledProcessError):
        return None


class Run:
    """A run folder."""

    def __init__(self, folder: str | Path) -> None:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError

        self.folder = Path(folder)
        path = self.folder / "settings.yaml"
        if not path.is_file():
            raise FileError(
                f"{folder} is not a run folder (there is no {path.name} in it). Make one with: leads fit experiment=..."
            )
        try:
            self.experiment = from_config(OmegaConf.load(path))
        except (YAMLError, OmegaConfBaseException, SettingsError, UnknownNameError) as error:
            raise CheckpointError(f"{path} cannot be read as the settings of a run: {error}") from error
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

    def placed(self, adapted: Adapted) -> Adapted:
        """``adapted`` on the device and in the precision of the run."""
        device, dtype = _place(self.experiment)
        contexts = {k: v.to(device, dtype) for k, v in adapted.contexts.items()}
        return dataclasses.replace(adapted, model=adapted.model.to(device, dtype), contexts=contexts)

    def evaluation(self) -> dict[str, Evaluation]:
        """What ``run_evaluate`` wrote, by protocol."""
        return {name: Evaluation.from_dict(scores) for name, scores in self.json("evaluation.json").items()}

    def json(self, name: str) -> Any:
        """A JSON file of the run."""
        path = self.folder / name
        if not path.is_file():
            raise CheckpointError(
                f"The run {self.folder} has no {name}: it has not finished. Run leads fit on it again."
            )
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged: {error}. Make it again with leads fit or evaluate.") from error

    def report(self, title: str, others: list[Run]) -> RunReport:
        """What the report page needs, with ``others`` as further seeds of the same experiment."""
        from leads.evaluation.report import RunReport

        runs = [self, *others]
        scores = [r.evaluation() for r in runs]
        origins = [r.json("provenance.json") for r in runs]
        return RunReport(
            title=title,
            family=self.experiment.family.name,
            split=self.family.split,
            algorithm=self.experiment.method.name,
            in_domain=[s["in-domain"] for s in scores],
            adaptation=[s["adaptation"] for s in scores],
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
        same = _same(run.experiment) | {"seed": None}
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
    rule = values["scheduled_sampling"]
    if rule is not None:
        _refuse(rule, [f.name for f in dataclasses.fields(ScheduledSampling)], "trainer.scheduled_sampling")
        values["scheduled_sampling"] = ScheduledSampling(**rule)
    return TrainerSettings(**values)


def _adaptation(experiment: Experiment) -> AdaptSettings:
    return AdaptSettings(**dataclasses.asdict(experiment.adaptation))


def _place(experiment: Experiment) -> tuple[torch.device, torch.dtype]:
    """Device and dtype of a run."""
    return _device(experiment.device), PRECISIONS[experiment.precision]


def _device(name: str) -> torch.device:
    """The device that Lightning Fabric picks for ``auto``, ``cpu``, ``cuda`` or ``mps``."""
    from lightning_fabric import Fabric

    try:
        return Fabric(accelerator=name, devices=1).device
    except (ValueError, RuntimeError) as error:
        raise SettingsError(
            f"The device {name!r} is not to be had here: {error}. Choose device=auto or device=cpu."
        ) from error
