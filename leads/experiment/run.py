"""A run described by typed settings: train, adapt, evaluate."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from leads.adaptation import Adapted, Calibration, adapt, calibrate, held_out_environments
from leads.algorithms import build
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError, UnknownNameError
from leads.evaluation import Evaluation, adjusted_rand_index, evaluate
from leads.experiment.folder import Run, make_data
from leads.experiment.place import PRECISIONS, place
from leads.experiment.provenance import provenance
from leads.experiment.settings import Experiment, adapt_settings, determining, trainer_settings
from leads.registry import nearest
from leads.training import fit, launched
from leads.trajectories import Trajectories, load
from leads.trajectories.cache import write_whole

#: In a run folder: what :func:`run_calibrate` found.
CALIBRATION = "calibration.safetensors"


def run_fit(experiment: Experiment, command: str = "") -> Path:
    """Train, adapt and evaluate as described; returns the run folder. A killed run resumes.

    Under ``torchrun`` the training is dealt out among its processes (:class:`leads.training.Processes`); process 0 then
    adapts, evaluates and writes.

    Raises:
        SettingsError: settings out of range, or a run folder that holds another experiment.
        LeadsError: whatever training, adaptation and evaluation raise.
    """
    from omegaconf import OmegaConf

    _check(experiment)
    folder = Path(experiment.run_dir)
    settings, adaptation = trainer_settings(experiment), adapt_settings(experiment)
    processes = launched(experiment.device, experiment.split)
    if processes is None:
        _claim(folder, experiment)
    else:
        if processes.writes:
            _claim(folder, experiment)
        processes.wait()
    torch.set_num_threads(experiment.threads)
    device, dtype = place(experiment, processes)
    family, data = make_data(experiment)
    train, valid = data.train.to(device, dtype), data.valid.to(device, dtype)
    if not experiment.data.labels:
        train, valid = train.unlabelled(), valid.unlabelled()
    model = build(
        experiment.method.name,
        family if experiment.data.labels and not experiment.data.channels else train,
        experiment.backbone.name,
        experiment.backbone.settings,
        method=experiment.integrator,
        substeps=experiment.substeps,
        history=experiment.history,
        memory=experiment.memory,
        seed=experiment.seed,
        **experiment.method.settings,
    ).to(device, dtype)
    if processes is not None and not processes.writes:
        fit(model, train, valid, settings, run_dir=folder, family=family, processes=processes)
        return folder
    plain = dataclasses.asdict(experiment)
    write_whole(folder / "settings.yaml", OmegaConf.to_yaml(OmegaConf.create(plain)).encode())
    origin = provenance(device, command, seed=experiment.seed)
    reporting: dict[str, Any] = {"progress": experiment.progress, "processes": processes}
    result = fit(model, train, valid, settings, run_dir=folder, family=family, **reporting)
    origin["training_seconds"] = result.seconds
    if not experiment.data.labels:
        _write_labels(folder, model, data.train)
    write_whole(folder / "provenance.json", json.dumps(origin, indent=1).encode())
    adapt(model, data.adapt.to(device, dtype), adaptation).save(folder / "adapted.safetensors")
    run_evaluate(folder)
    return folder


def run_evaluate(folder: str | Path) -> dict[str, Evaluation]:
    """Evaluate a run on the test sets of its family: in-domain and adapted; writes ``evaluation.json``."""
    run = Run(folder)
    horizon = float(run.family.times[-1])
    device, dtype = place(run.experiment)
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


def run_adapt(folder: str | Path, data: str | Path, out: str | Path | None = None, **settings: Any) -> Adapted:
    """Adapt the model of a run to the trajectories in a file; saved beside the run unless ``out`` says where.

    ``settings`` replace single ones of the run's (:class:`leads.adaptation.AdaptSettings`). Where the run was calibrated
    (:func:`run_calibrate`), bands and warnings are by that.
    """
    run = Run(folder)
    device, dtype = place(run.experiment)
    support = load(data).to(device, dtype)
    adapted = adapt(run.model().to(device, dtype), support, adapt_settings(run.experiment), **settings)
    calibration = run.folder / CALIBRATION
    if calibration.exists():
        adapted = adapted.calibrated(Calibration.load(calibration))
    adapted.save(out or run.folder / f"adapted_{Path(data).stem}.safetensors")
    return adapted


def run_calibrate(
    folder: str | Path, environments: int = 200, noise: float = 0.0, seed: int = 0, support: int = 1, truth: int = 4
) -> Path:
    """Calibrate the bands and the alarms of a run on fresh environments of its family; returns the file written.

    Args:
        folder: the run.
        environments: how many are drawn inside the seen range and simulated.
        noise: standard deviation of the observations that will be adapted to.
        seed: of the draws.
        support, truth: trajectories of each to adapt to, and to forecast.

    Raises:
        SettingsError: a run that sees other channels or windows than its family has, which are not simulated here.
    """
    run = Run(folder)
    if run.experiment.data.channels or run.experiment.data.window:
        raise SettingsError(
            "This run sees a part of the channels or windows of its data. Calibrate it in Python, on such data: "
            "leads.calibrate(model, support, truth)."
        )
    device, dtype = place(run.experiment)
    seen, forecast = held_out_environments(
        run.family, environments, support=support, truth=truth, noise=noise, seed=seed, dtype=dtype
    )
    found = calibrate(
        run.model().to(device, dtype), seen.to(device), forecast.to(device), seen=run.data.train.to(device, dtype),
        settings=adapt_settings(run.experiment),
    )  # fmt: skip
    found.save(run.folder / CALIBRATION)
    return run.folder / CALIBRATION


def _write_labels(folder: Path, model: DecomposedDynamics, train: Trajectories) -> None:
    """``labels.json``: the environments that the model's source inferred, where it did, beside the true ones."""
    labels = getattr(model.source, "labels", None)
    if labels is None:
        return
    truth = torch.arange(train.n_environments).repeat_interleave(train.n_trajectories)
    score = adjusted_rand_index(labels.cpu(), truth)
    content = {"inferred": labels.tolist(), "truth": truth.tolist(), "adjusted_rand_index": score}
    write_whole(folder / "labels.json", json.dumps(content, indent=1).encode())


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
    there, here = determining(Run(folder).experiment), determining(experiment)
    changed = [
        f"{key}: {there.get(key)} there, {here.get(key)} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    if changed:
        raise SettingsError(
            f"{folder} holds a run with other settings ({'; '.join(changed)}). Choose another run_dir, or delete that one."
        )
