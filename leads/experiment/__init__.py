"""A run described by typed settings, and the folder that it leaves."""

from leads.experiment.folder import Run, group_seeds
from leads.experiment.provenance import provenance
from leads.experiment.run import run_adapt, run_calibrate, run_evaluate, run_fit
from leads.experiment.settings import AdaptSchema, Experiment, TrainerSchema, from_config, from_dict

__all__ = [
    "AdaptSchema",
    "Experiment",
    "Run",
    "TrainerSchema",
    "from_config",
    "from_dict",
    "group_seeds",
    "provenance",
    "run_adapt",
    "run_calibrate",
    "run_evaluate",
    "run_fit",
]
