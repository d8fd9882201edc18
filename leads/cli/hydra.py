"""Hydra under the command line: composing one configuration, or sweeping over many."""

from __future__ import annotations

import sys
from typing import Any

from leads.experiment import Experiment, from_config, run_fit


def _register() -> None:
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="experiment_schema", node=Experiment)


def compose(overrides: list[str]) -> Experiment:
    """One configuration from ``leads/configs`` and overrides."""
    import hydra

    _register()
    with hydra.initialize_config_module("leads.configs", version_base=None):
        return from_config(hydra.compose("config", overrides=overrides))


def sweep(overrides: list[str]) -> None:
    """Hydra's multirun: comma-separated values, any of its launchers. Each job's run folder is Hydra's own."""
    import hydra
    from hydra.core.hydra_config import HydraConfig

    _register()

    def job(config: Any) -> None:
        experiment = from_config(config)
        given = any(o.startswith("run_dir=") for o in HydraConfig.get().overrides.task)
        if not given:
            experiment.run_dir = HydraConfig.get().runtime.output_dir
        run_fit(experiment, "leads fit " + " ".join(HydraConfig.get().overrides.task))

    sys.argv = ["leads fit", "-m", *overrides]
    hydra.main(config_path="pkg://leads.configs", config_name="config", version_base=None)(job)()
