"""Several models trained from different seeds, as one forecaster."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leads.adaptation.adapt import adapt
from leads.adaptation.adapted import Adapted
from leads.adaptation.posterior import Bands, Method, check_level, interval, noise_variance, normal_quantile, with_noise
from leads.adaptation.settings import AdaptSettings
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError, ShapeError
from leads.training.files import read_tensors
from leads.trajectories import Trajectories
