"""Training: episodes, the loop, checkpoints, logging."""

from leads.training.episodes import Episode, Episodes
from leads.training.files import load_model, save_model
from leads.training.fit import FitResult, fit
from leads.training.processes import Processes, launched, reports
from leads.training.settings import ScheduledSampling, TrainerSettings

__all__ = [
    "Episode",
    "Episodes",
    "FitResult",
    "Processes",
    "ScheduledSampling",
    "TrainerSettings",
    "fit",
    "launched",
    "load_model",
    "reports",
    "save_model",
]
