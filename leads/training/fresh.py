"""Environments that training meets once: a stream of them from a family's distribution."""

from __future__ import annotations

import numpy as np
import torch

from leads.environments import EnvironmentFamily
from leads.errors import DivergenceError, SettingsError
from leads.training.settings import TrainerSettings
from leads.trajectories import Trajectories, simulate

#: Set before the seed and the pool's number: a key of its own kind, so that no pool shares its stream with a data set.
_STREAM = 0x66726573


class FreshEnvironments:
    """A stream of pools: pool k holds the environments of steps ``k every`` to ``(k + 1) every - 1``.

    A pool is ``settings.fresh_environments`` environments drawn inside the seen range of the family
    (``family.sample(n, "inside", ...)``), each with as many trajectories as the training data have, on their times, in
    their precision and fidelity, simulated as one batch. Initial states are drawn anew too, the same ones in all
    environments of a pool where the family says so. All is fully observed, also where the training data are not.

    A pool follows from its number and the seed alone: a resumed run meets the same ones. Only one is held at a time.

    Raises:
        SettingsError: at construction, where the training data are not of this family, or were standardised.
        DivergenceError: at use, where a draw blows up; its parameters are named.

    Source: tasks drawn from a distribution p(T) at every step, Finn et al. (2017), MAML, Algorithm 1.
    """

    def __init__(self, family: EnvironmentFamily, like: Trajectories, settings: TrainerSettings) -> None:
        name = like.attributes.get("family", family.name)
        if name != family.name or like.state_shape != family.system.state_shape:
            raise SettingsError(
                f"Fresh environments of the family {family.name!r} have states (C, *X) = {family.system.state_shape}; "
                f"the training data are of {name!r} with {like.state_shape}. Give the family that they come from."
            )
        if "standardised_mean" in like.attributes:
            raise SettingsError(
                "The training data are standardised, fresh environments would come as simulated. Train on the seen ones "
                "(fresh_environments=0), or on data as they are (data.standardise=none)."
            )
        self.family, self.like, self.settings = family, like, settings
        self._held: tuple[int, Trajectories] | None = None

    def number(self, step: int) -> int:
        """The number of the pool that step ``step`` draws from."""
        return step // self.settings.fresh_every

    def at(self, step: int) -> Trajectories:
        """The pool that step ``step`` draws from."""
        number = self.number(step)
        if self._held is None or self._held[0] != number:
            self._held = (number, self.pool(number))
        return self._held[1]

    @torch.no_grad()
    def pool(self, number: int) -> Trajectories:
        """Simulate pool ``number``."""
        family, system, like = self.family, self.family.system, self.like
        n, each = self.settings.fresh_environments, like.n_trajectories
        generator = np.random.RandomState([_STREAM, self.settings.seed % 2**32, number])
        parameters = family.sample(n, "inside", generator)
        rows = 1 if family.shared_initial_states else n
        x0 = system.spin_up(system.sample_x0(rows * each, generator)).unflatten(0, (rows, each))
        fidelity = like.attributes.get("fidelity", "exact")
        try:
            made = simulate(
                system,
                parameters,
                x0.expand(n, *x0.shape[1:]),
                like.times,
                fidelity,
                estimate_error=False,
                dtype=like.states.dtype,
            )
        except DivergenceError as error:
            raise DivergenceError(
                f"Among the fresh environments of pool {number}: {error} Narrow the family's distribution, or train on "
                "its seen environments (fresh_environments=0)."
            ) from error
        return made.to(like.states.device)


def fresh_environments(
    family: EnvironmentFamily | None, like: Trajectories, settings: TrainerSettings
) -> FreshEnvironments | None:
    """The stream that the settings ask for, or ``None``.

    Raises:
        SettingsError: there is no family to draw from.
    """
    if not settings.fresh_environments:
        return None
    if family is None:
        raise SettingsError(
            f"fresh_environments={settings.fresh_environments} draws from a family's distribution, and no family was "
            "given: fit(model, train, ..., family=leads.make(...)). Data without equations have none; there, "
            "environments_per_step draws among the seen environments."
        )
    return FreshEnvironments(family, like, settings)
