"""leads: dynamics of physical systems that generalise across environments.

The flow::

    environments -> trajectories -> (backbones + adapters + contexts = dynamics) -> training -> adaptation -> evaluation

Letters of shapes: E environments, N trajectories each, T times, C channels, X spatial axes (none for ODEs),
S = (C, *X), P physical parameters. States are ``(E, N, T, C, *X)``, times ``(T,)``, parameters ``(E, P)``.
A context is a dict of tensors, stacked along a leading E.
"""

from leads.adaptation import Adapted, adapt, trained
from leads.algorithms import build
from leads.environments import EnvironmentFamily, System, list_families, make, register
from leads.errors import LeadsError
from leads.evaluation import evaluate
from leads.training import TrainerSettings, fit, load_model, save_model
from leads.trajectories import Trajectories, generate
from leads.version import __version__

__all__ = [
    "Adapted",
    "EnvironmentFamily",
    "LeadsError",
    "System",
    "TrainerSettings",
    "Trajectories",
    "__version__",
    "adapt",
    "build",
    "evaluate",
    "fit",
    "generate",
    "list_families",
    "load_model",
    "make",
    "register",
    "save_model",
    "trained",
]
