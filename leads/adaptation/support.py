"""What an adaptation asks of its observations before it starts."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import Tensor

from leads.errors import DataError
from leads.trajectories import Trajectories


def observed(support: Trajectories) -> Tensor:
    """``True`` where observed, shape of the states."""
    return torch.ones_like(support.states, dtype=torch.bool) if support.mask is None else support.mask


def counts(support: Trajectories, skip: int) -> Tensor:
    """Observed values of each environment after the first ``skip`` frames, shape ``(E,)``."""
    if support.mask is None:
        e, _, t, *_ = support.states.shape
        each = support.states[0, :, skip:].numel() if e and t > skip else 0
        return torch.full((e,), each, device=support.states.device)
    return support.mask[:, :, skip:].flatten(1).sum(1)


def check_observations(support: Trajectories, history: int, estimated: bool, gaps: bool = False) -> None:
    """Refuse a support that says nothing, and warn of one that says little.

    Args:
        support: the observations.
        history: frames that a forecast starts from.
        estimated: whether these are observations like others.
        gaps: whether a forecast may start from frames with missing values.

    Raises:
        DataError: there is no environment or trajectory, an environment has no observed value to fit, or a first frame
            that is taken as exact is missing.
    """
    e, n, *_ = support.states.shape
    if not e or not n or not support.states.numel():
        raise DataError(
            f"The support is empty: its states have shape {tuple(support.states.shape)}. Adaptation needs at least one "
            "environment with one trajectory."
        )
    found = counts(support, 0 if estimated else history)
    if not bool(found.all()):
        bad = int((found == 0).nonzero()[0])
        after = "" if estimated else f" after the first {'frame' if history == 1 else f'{history} frames'}"
        raise DataError(
            f"Environment {bad} has no observed value{after}: all are masked or NaN. Leave it out, e.g. "
            "support.select(environments=[...]), or observe it once more."
        )
    if not estimated and not gaps:
        _check_start(support, history)
    _warn_constant(support)


def _check_start(support: Trajectories, history: int) -> None:
    """A trajectory that has observations starts from numbers."""
    if support.mask is None:
        return
    missing = ~torch.isfinite(support.states[:, :, :history]).flatten(2).all(2) & support.mask.flatten(2).any(2)
    if bool(missing.any()):
        e, n = (int(i) for i in missing.nonzero()[0])
        raise DataError(
            f"The first frame of environment {e}, trajectory {n} is not wholly observed, and a forecast starts from it. "
            "adapt(..., initial='estimated') finds it along with the context. Entries that are never observed, such as "
            "land, need the values that the model was trained with."
        )


def _warn_constant(support: Trajectories) -> None:
    """Where nothing that is observed ever changes, no dynamics can be seen."""
    seen, x = observed(support), support.states
    low = torch.where(seen, x, torch.inf).amin(2)
    high = torch.where(seen, x, -torch.inf).amax(2)
    twice = (seen.sum(2) > 1).flatten(1).any(1)
    still = twice & ~(high > low).flatten(1).any(1)
    if bool(still.any()):
        rows = still.nonzero()[:, 0].tolist()
        warnings.warn(
            f"The observations of environment(s) {', '.join(map(str, rows[:8]))} do not change in time: an equilibrium says "
            "little about the context. Add a trajectory that moves, or hold the context by prior='seen'.",
            stacklevel=5,
        )


def warn_too_few(found: Tensor, size: int, states: int, trajectories: int, carried: bool = False) -> None:
    """Warn of environments with fewer observed values than unknowns.

    Args:
        found: observed values of each environment, shape ``(E,)``.
        size: values of a context.
        states: values of a first state, 0 where these are given.
        trajectories: their number.
        carried: whether the prior of the seen environments will be taken for these.
    """
    needed = size + states * trajectories
    few = found < needed
    if not bool(few.any()):
        return
    bad = int(few.nonzero()[0])
    parts = f"a context of {size} values" + (f" and {trajectories} first states of {states} values" if states else "")
    then = (
        "The prior of the seen environments carries what is missing, and the covariance shows it."
        if carried
        else "Directions that nothing observes stay where they start, and the covariance does not know them. prior='seen' "
        "carries what is missing."
    )
    warnings.warn(
        f"Environment {bad} has {int(found[bad])} observed values, fewer than its unknowns: {parts} need at least {needed}. "
        f"{then}",
        stacklevel=6,
    )


def filled(support: Trajectories, estimated: bool) -> Trajectories:
    """The same observations, finite everywhere, so that rollouts start from numbers.

    Missing values that are not finite become the value of the same entry that was observed last, or else next. A
    trajectory or an entry never observed takes the mean over its environment, an entry that no trajectory of its
    environment observes the mean of all entries there. With ``estimated`` first frames, entries of them that are not
    observed become the first value that is, also where a number stands there; the mask stays.
    """
    if support.mask is None:
        return support
    x, seen = support.states, support.mask
    t = x.shape[2]
    index = torch.arange(t, device=x.device).reshape(1, 1, t, *(1,) * (x.ndim - 3)).expand_as(x)
    last = torch.where(seen, index, -1).cummax(2).values
    following = torch.where(seen, index, t).flip(2).cummin(2).values.flip(2)
    source = torch.where(last >= 0, last, following.clamp_max(t - 1))
    ever = seen.any(2, keepdim=True)
    zero = x.new_zeros(())
    values = torch.where(seen, x, zero)
    total, number = values.sum((1, 2), keepdim=True), seen.sum((1, 2), keepdim=True)
    every = values.flatten(1).sum(1) / seen.flatten(1).sum(1).clamp_min(1)
    mean = torch.where(number > 0, total / number.clamp_min(1), every.reshape(-1, *(1,) * (x.ndim - 1)))
    fill = torch.where(ever, values.gather(2, source), mean)
    out = torch.where(torch.isfinite(x), x, fill)
    if estimated:
        first = torch.where(seen[:, :, :1] | ~ever, out[:, :, :1], fill[:, :, :1])
        out = torch.cat([first, out[:, :, 1:]], 2)
    return replace(support, states=out)
