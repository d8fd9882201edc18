"""leads: dynamics of physical systems that generalise across environments.

The flow::

    environments -> trajectories -> (backbones + adapters + contexts = dynamics) -> training -> adaptation -> evaluation

Letters of shapes: E environments, N trajectories each, T times, C channels, X spatial axes (none for ODEs),
S = (C, *X), P physical parameters. States are ``(E, N, T, C, *X)``, times ``(T,)``, parameters ``(E, P)``.
A context is a dict of tensors, stacked along a leading E.

Names are imported when they are first used, so that ``leads --help`` need not load torch.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from leads.errors import LeadsError
from leads.version import __version__

if TYPE_CHECKING:
    from leads.adaptation import (
        Adapted,
        Calibration,
        DriftMonitor,
        Ensemble,
        adapt,
        adapt_many,
        calibrate,
        held_out_environments,
        next_observation,
        parameter_map,
        trained,
    )
    from leads.algorithms import build
    from leads.environments import EnvironmentFamily, System, list_families, make, register
    from leads.evaluation import evaluate
    from leads.training import TrainerSettings, fit, load_model, save_model
    from leads.trajectories import Trajectories, generate, simulate

_ROOMS = {
    "adaptation": (
        "Adapted",
        "Calibration",
        "DriftMonitor",
        "Ensemble",
        "adapt",
        "adapt_many",
        "calibrate",
        "held_out_environments",
        "next_observation",
        "parameter_map",
        "trained",
    ),
    "algorithms": ("build",),
    "environments": ("EnvironmentFamily", "System", "list_families", "make", "register"),
    "evaluation": ("evaluate",),
    "training": ("TrainerSettings", "fit", "load_model", "save_model"),
    "trajectories": ("Trajectories", "generate", "simulate"),
}

__all__ = [
    "Adapted",
    "Calibration",
    "DriftMonitor",
    "Ensemble",
    "EnvironmentFamily",
    "LeadsError",
    "System",
    "TrainerSettings",
    "Trajectories",
    "__version__",
    "adapt",
    "adapt_many",
    "build",
    "calibrate",
    "evaluate",
    "fit",
    "generate",
    "held_out_environments",
    "list_families",
    "load_model",
    "make",
    "next_observation",
    "parameter_map",
    "register",
    "save_model",
    "simulate",
    "trained",
]


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            value = getattr(import_module(f"leads.{room}"), name)
            globals()[name] = value
            return value
    if not name.startswith("_") and find_spec(f"leads.{name}") is not None:
        return import_module(f"leads.{name}")
    raise AttributeError(f"module 'leads' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
