"""Why environments of a fleet failed or were solved again, as small numbers that a store keeps."""

from __future__ import annotations

import torch
from torch import Tensor

from leads.adaptation.small_contexts import REASONS
from leads.adaptation.support import counts
from leads.errors import DataError
from leads.trajectories import Trajectories

#: What the numbers 1, 2, ... of ``failure`` stand for; 0 is none.
FAILURES = ("no_observed_value", "first_frame_missing", "rollout_not_finite", "solver_failed")
UNSEEN, STARTLESS, DIVERGED, BROKEN = range(1, 5)
#: What to say of them.
SENTENCES = {
    UNSEEN: "all of its values that could be fitted are missing",
    STARTLESS: "its first frame is not wholly observed, and a forecast starts from it (initial='estimated' finds it)",
    DIVERGED: "the rollout from its starting context is not finite",
    BROKEN: "the solver failed on it",
}
#: Flags of each environment and what their numbers 1, 2, ... mean.
FLAGS = {
    "failure": ("why there is no fit", FAILURES),
    "restarted": ("why it was solved again from several starts", tuple(r.replace(" ", "_") for r in REASONS)),
}


def unusable(support: Trajectories, history: int, estimated: bool) -> Tensor:
    """``failure`` of every environment by its observations alone, ``(E,)``, int8."""
    e = support.n_environments
    found = torch.zeros(e, dtype=torch.int8, device=support.states.device)
    if support.mask is None:
        return found
    if not estimated:
        lost = ~torch.isfinite(support.states[:, :, :history]).flatten(2).all(2) & support.mask.flatten(2).any(2)
        found[lost.any(1)] = STARTLESS
    found[counts(support, 0 if estimated else history) == 0] = UNSEEN
    return found


def of_error(error: Exception) -> int:
    """``failure`` of the one environment in which this was raised."""
    if isinstance(error, DataError):
        return UNSEEN
    return BROKEN if isinstance(error, torch.linalg.LinAlgError) else DIVERGED
