"""The typed settings of a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, make_dataclass
from functools import partial
from typing import Any, get_args, get_origin, get_type_hints

from leads.adaptation import AdaptSettings
from leads.errors import SettingsError, UnknownNameError
from leads.registry import nearest
from leads.training import ScheduledSampling, TrainerSettings
from leads.trajectories.samples import Sampling


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
    """Which data a family is asked for, and what of them models see (:class:`leads.trajectories.samples.Sampling`);
    without ``labels``, every training trajectory is an environment of its own."""

    seed: int = 0
    fidelity: str = "exact"
    labels: bool = True
    channels: list[str] = field(default_factory=list)
    standardise: str = "none"
    window: int = 0
    stride: int = 1
    valid_from: int = 0
    test_from: int = 0
    new_until: int = 0


@dataclass
class Experiment:
    """Everything that determines a run."""

    family: Named = field(default_factory=Named)
    method: Named = field(default_factory=Named)
    backbone: Named = field(default_factory=Named)
    integrator: str = "rk4"
    substeps: int = 1
    history: int = 1
    memory: str = "store"
    data: Data = field(default_factory=Data)
    trainer: Any = field(default_factory=TrainerSchema)
    adaptation: Any = field(default_factory=AdaptSchema)
    seed: int = 0
    device: str = "auto"
    split: str = "environments"
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


def trainer_settings(experiment: Experiment) -> TrainerSettings:
    values = dataclasses.asdict(experiment.trainer) | {"seed": experiment.seed}
    for name in ("betas", "horizons", "shares"):
        values[name] = tuple(values[name])
    rule = values["scheduled_sampling"]
    if rule is not None:
        _refuse(rule, [f.name for f in dataclasses.fields(ScheduledSampling)], "trainer.scheduled_sampling")
        values["scheduled_sampling"] = ScheduledSampling(**rule)
    return TrainerSettings(**values)


def sampling(experiment: Experiment) -> Sampling:
    values = {f.name: getattr(experiment.data, f.name) for f in dataclasses.fields(Sampling)}
    return Sampling(**{**values, "channels": tuple(values["channels"])})


def adapt_settings(experiment: Experiment) -> AdaptSettings:
    return AdaptSettings(**dataclasses.asdict(experiment.adaptation))


def determining(experiment: Experiment) -> dict[str, Any]:
    """All settings that determine a run's numbers, by their dotted names."""
    plain = dataclasses.asdict(experiment)
    return {
        k: v
        for k, v in _dotted(plain).items()
        if k not in ("run_dir", "progress", "threads", "device", "split", "memory")
    }


def _dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat
