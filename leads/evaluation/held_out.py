"""Choosing settings for environments never seen, without looking at them: seen environments are held out in turn.

Validation trajectories of seen environments say how well a model forecasts where it was trained. They prefer settings
that fit the seen environments ever more closely, also where that costs the adaptation to new ones. Here the model is
trained without some of the seen environments, adapted to each of those as to a new one, and scored there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from leads.adaptation import AdaptSettings, adapt
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError
from leads.evaluation.protocols import Evaluation, evaluate
from leads.training import fit
from leads.trajectories import Trajectories


def environment_folds(environments: int, folds: int, seed: int = 0) -> list[list[int]]:
    """Split ``range(environments)`` at random into ``folds`` groups of nearly equal size, each sorted.

    Raises:
        SettingsError: fewer than two folds, or more folds than environments.
    """
    if not 2 <= folds <= environments:
        raise SettingsError(f"{environments} environments can be split into 2 to {environments} folds, not {folds}.")
    order = np.random.RandomState(seed).permutation(environments)
    return [sorted(int(e) for e in part) for part in np.array_split(order, folds)]


def score_held_out(
    build: Callable[[Trajectories], DecomposedDynamics],
    train: Trajectories,
    valid: Trajectories,
    held_out: Sequence[int],
    support: int = 1,
    adaptation: AdaptSettings | None = None,
    **trainer: Any,
) -> Evaluation:
    """Train without some seen environments, adapt to them, and score the forecasts there.

    Args:
        build: makes an untrained model for the given training trajectories.
        train, valid: training and validation trajectories of all seen environments. Those of the environments that are
            kept train the model and choose its weights; the first ``support`` training trajectories of those held out
            adapt it, and their validation trajectories score it.
        held_out: which environments to hold out.
        support: trajectories that each held-out environment is adapted from.
        adaptation: settings of the adaptation.
        trainer: settings of the training, see :class:`leads.training.TrainerSettings`.

    Raises:
        SettingsError: no environment is left to train on, or none is held out.
    """
    held = sorted(set(held_out))
    kept = [e for e in range(train.n_environments) if e not in held]
    if not kept or not held or held[0] < 0 or held[-1] >= train.n_environments:
        raise SettingsError(
            f"Of {train.n_environments} environments, some must be held out and some kept; got held_out={list(held_out)}."
        )
    seen = train.select(environments=kept)
    model = build(seen)
    fit(model, seen, valid.select(environments=kept), **trainer)
    adapted = adapt(model, train.select(environments=held, trajectories=slice(0, support)), adaptation)
    return evaluate(adapted, valid.select(environments=held))
