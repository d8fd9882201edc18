"""Hydra under the command line: composing one configuration, or sweeping over many."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from leads.cli.completion import groups
from leads.cli.scores import print_scores
from leads.errors import SettingsError, UnknownNameError
from leads.experiment import Experiment, from_config, run_fit
from leads.registry import nearest


def _register() -> None:
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="experiment_schema", node=Experiment)


def compose(overrides: list[str]) -> Experiment:
    """One experiment from ``leads/configs`` and overrides such as ``experiment=lotka_volterra_coda`` or ``seed=1``.

    Raises:
        UnknownNameError: an experiment, group or setting that does not exist; the nearest known one is offered.
        SettingsError: an override that cannot be read, or a value of the wrong type.
    """
    with _in_our_words():
        return from_config(_composed(overrides))


def sweep(overrides: list[str]) -> None:
    """Hydra's multirun: comma-separated values, any of its launchers. Each job's run folder is Hydra's own, and each job
    prints its scores."""
    import hydra
    from hydra.core.hydra_config import HydraConfig

    _register()

    def job(config: Any) -> None:
        experiment = from_config(config)
        given = any(o.startswith("run_dir=") for o in HydraConfig.get().overrides.task)
        if not given:
            experiment.run_dir = HydraConfig.get().runtime.output_dir
        task = list(HydraConfig.get().overrides.task)
        print_scores(run_fit(experiment, shlex.join(["leads", "fit", *task])), " ".join(task))

    sys.argv = ["leads fit", "-m", *overrides]
    # Hydra then lets exceptions through, instead of printing a traceback and leaving with its own exit code.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with _in_our_words():
        hydra.main(config_path="pkg://leads.configs", config_name="config", version_base=None)(job)()


def _composed(overrides: list[str]) -> Any:
    import hydra

    _register()
    with hydra.initialize_config_module("leads.configs", version_base=None):
        return hydra.compose("config", overrides=overrides)


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Hydra's errors as ours, with the nearest known name where it only says that there is no such thing."""
    from hydra.errors import CompactHydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except MissingConfigException as error:
        raise _unknown_choice(error.missing_cfg_file or "", list(error.options or ()), error) from error
    except (CompactHydraException, OmegaConfBaseException) as error:
        key = re.match(r"Could not override '([^']+)'", str(error))
        if key and not isinstance(error.__cause__, ValueError):
            raise _unknown_setting(key[1]) from error
        group = re.search(r"(?:No match in the defaults list|Could not override) .*'([\w./]+)'", str(error))
        if group:
            raise UnknownNameError(f"There is no group {group[1]!r}. {nearest(group[1], groups())}") from error
        cause = f" {error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
        lines = [line.strip() for line in f"{error}{cause}".splitlines() if line.strip()]
        raise SettingsError(
            " ".join(line for line in lines if not line.startswith(("full_key", "object_type")))
        ) from error


def _unknown_choice(missing: str, options: list[str], error: Exception) -> UnknownNameError:
    group, _, name = missing.rpartition("/")
    if not group or not options:
        return UnknownNameError(str(error).splitlines()[0])
    return UnknownNameError(f"No {group} is named {name!r}. {nearest(name, options)}")


def _unknown_setting(key: str) -> UnknownNameError:
    """What to say of an override of a setting that does not exist."""
    from omegaconf import DictConfig

    known = _composed([])
    parts, passed = key.split("."), ""
    for part in parts:
        if not isinstance(known, DictConfig) or part not in known:
            break
        known, passed = known[part], f"{passed}{part}."
    names = [passed + str(name) for name in known] if isinstance(known, DictConfig) else []
    more = f" To pass on an argument that has no default here, write +{key}=..." if ".settings." in key else ""
    return UnknownNameError(f"An experiment has no setting {key!r}. {nearest(key, names)}{more}")
