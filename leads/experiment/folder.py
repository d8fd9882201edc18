"""A run folder and what can be read from it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leads.adaptation import Adapted, trained
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily, make
from leads.errors import CheckpointError, FileError, SettingsError, UnknownNameError
from leads.evaluation import Evaluation
from leads.experiment.place import PRECISIONS, place
from leads.experiment.settings import Experiment, determining, from_config, sampling
from leads.training import load_model
from leads.trajectories import DataSplits, generate
from leads.trajectories.samples import sampled_splits

if TYPE_CHECKING:
    from leads.evaluation.report import RunReport


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
            self._loaded = make_data(self.experiment)
        return self._loaded[1]

    def model(self) -> DecomposedDynamics:
        """The trained model."""
        return load_model(self.folder / "model.safetensors")

    def seen(self) -> Adapted:
        """The model in its seen environments."""
        return trained(self.model(), data=self.data.train)

    def adapted(self) -> Adapted:
        """The model in the unseen environments of its family."""
        return Adapted.load(self.folder / "adapted.safetensors")

    def placed(self, adapted: Adapted) -> Adapted:
        """``adapted`` on the device and in the precision of the run."""
        device, dtype = place(self.experiment)
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
        same = determining(run.experiment) | {"seed": None}
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(run)
    return list(groups.values())


def make_data(experiment: Experiment) -> tuple[EnvironmentFamily, DataSplits]:
    family = make(experiment.family.name, **experiment.family.settings)
    fidelity: Any = experiment.data.fidelity
    data = generate(family, experiment.data.seed, fidelity, dtype=PRECISIONS[experiment.precision])
    return family, sampled_splits(data, sampling(experiment))
