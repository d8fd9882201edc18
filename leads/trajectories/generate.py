"""From a family to its data sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments import EnvironmentFamily, System
from leads.errors import DataError, SettingsError, UnknownNameError
from leads.registry import nearest
from leads.trajectories.cache import cached, fingerprint
from leads.trajectories.seeds import check_seed
from leads.trajectories.trajectories import Trajectories
from leads.version import __version__

FIDELITIES = ("exact", "published")
#: Data seeds are this far apart, so that no two share a trajectory.
STRIDE = 1_000_000


@dataclass(frozen=True)
class DataSplits:
    """The data sets of one family: ``train``, ``valid`` and ``test`` in its seen environments, ``adapt`` and
    ``adapt_test`` in its unseen ones."""

    train: Trajectories
    valid: Trajectories
    test: Trajectories
    adapt: Trajectories
    adapt_test: Trajectories

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter((self.train, self.valid, self.test, self.adapt, self.adapt_test))

    def __repr__(self) -> str:
        names = ("train", "valid", "test", "adapt", "adapt_test")
        return "DataSplits(\n" + "".join(f"  {n}={getattr(self, n)!r}\n" for n in names) + ")"


def generate(
    family: EnvironmentFamily,
    seed: int = 0,
    fidelity: Literal["exact", "published"] = "exact",
    cache: bool | str | Path = True,
    dtype: torch.dtype = torch.float32,
) -> DataSplits:
    """Simulate all data sets of a family.

    Initial states follow the published rule: training trajectory k is drawn with seed k and test trajectory k with
    seed ``2**31 - 1 - k``, the same in every environment where the family says so; the adaptation sets use the same
    two ranges, as published. Validation, which no paper has, draws from a third range. ``seed`` shifts all of them by
    a million, so ``seed=0`` is the published draw.

    Args:
        family: what :func:`leads.make` returns.
        seed: of the initial states.
        fidelity: ``"exact"`` (error far under float32's) or ``"published"``: by the solver of the paper's generator,
            named in the system's docstring, for most SciPy's RK45 at its default tolerances, whose own error is as
            large as the best published forecast errors on Lotka-Volterra. Numbers on the two kinds of data must not be
            compared.
        cache: keep the result under the user's cache folder (or the given one, or not at all).
        dtype: of the states; they are made in float64 and cast once.
    """
    seed = check_seed(seed)
    if fidelity not in FIDELITIES:
        raise UnknownNameError(f"No fidelity is named {fidelity!r}. {nearest(str(fidelity), FIDELITIES)}")
    made = {}
    for name, (n, parameters, times) in plan(family).items():
        rule = SEEDS[name]
        x0 = initial_states(family, lambda k, rule=rule: rule(seed * STRIDE + k), n, len(parameters), cache)  # type: ignore[misc]
        attributes = provenance(family, name, seed, fidelity)
        made[name] = _solve(family.system, parameters, x0, times, fidelity, attributes, cache, dtype)
    return DataSplits(**made)


def simulate(
    system: System,
    parameters: Tensor,
    x0: Tensor,
    times: Tensor,
    fidelity: Literal["exact", "published"] = "exact",
    *,
    estimate_error: bool = True,
    dtype: torch.dtype | None = None,
) -> Trajectories:
    """Simulate any environments of a system, with an estimate of the error.

    Args:
        system: the equations.
        parameters: shape ``(E, P)``.
        x0: initial states, shape ``(E, N, C, *X)``, or ``(N, C, *X)`` to share them. Solved in their dtype.
        times: shape ``(T,)``.
        fidelity: see :func:`generate`.
        estimate_error: solve again with twice the steps, in float64, and keep the largest difference in
            ``attributes["error_estimate"]``: an estimate of the error of the solution returned, at two or three times
            its cost (exact fidelity only, and not for systems whose step is part of their definition).
        dtype: of the states returned; that of ``x0`` by default.

    Returns:
        Trajectories; their states are differentiable in ``x0`` and ``parameters``.

    Raises:
        ShapeError, DataError: inputs that do not fit the system, or parameters outside their range.
        DivergenceError: a trajectory blows up; its environment, its number and the time are named.
    """
    if fidelity not in FIDELITIES:
        raise UnknownNameError(f"No fidelity is named {fidelity!r}. {nearest(str(fidelity), FIDELITIES)}")
    if not isinstance(system, System):
        hint = "Pass family.system." if isinstance(system, EnvironmentFamily) else "leads.make(...).system is one."
        raise SettingsError(f"simulate needs a System, got {type(system).__name__}. {hint}")
    parameters, x0, times = _real("parameters", parameters), _real("x0", x0), _real("times", times)
    if x0.ndim == 1 + len(system.state_shape):
        x0 = x0.expand(len(parameters), *x0.shape)
    attributes: dict[str, object] = {
        "system": type(system).__name__,
        "fidelity": fidelity,
        "leads_version": __version__,
    }
    result = _solve(system, parameters, x0, times, fidelity, attributes, False, dtype or x0.dtype)
    if fidelity == "exact" and estimate_error and system.steps_tell_error:
        with torch.no_grad():
            fine = system.simulate(x0.double(), parameters.double(), times, refine=2)
            estimate = float((fine - result.states).abs().max()) if fine.numel() else 0.0
        result = replace(result, attributes={**result.attributes, "error_estimate": estimate})
    return result


def _real(name: str, values: Tensor) -> Tensor:
    """A tensor of real numbers; arrays and lists are converted, whole numbers become float64."""
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name} must be a tensor or an array of numbers, got {type(values).__name__}.") from error
    if tensor.is_complex():
        raise DataError(f"{name} must be real, got {tensor.dtype}.")
    return tensor if tensor.is_floating_point() else tensor.double()


def initial_states(
    family: EnvironmentFamily,
    seed: Callable[[int], int],
    n: int,
    environments: int,
    cache: bool | str | Path = False,
) -> Tensor:
    """``n`` initial states per environment, ``(E, n, C, *X)``; state k comes from its own seed ``seed(k)``, so a
    larger budget leaves the first ones as they are. Spun-up states are kept in ``cache``."""
    system = family.system
    draws = n if family.shared_initial_states else n * environments
    if not draws or not environments:
        return torch.empty(environments, n, *system.state_shape, dtype=torch.float64)
    states = draw_states(system, [seed(k) for k in range(draws)], cache)
    if family.shared_initial_states:
        return states.expand(environments, *states.shape).contiguous()
    return states.reshape(environments, n, *system.state_shape)


def draw_states(system: System, seeds: Sequence[int], cache: bool | str | Path = False) -> Tensor:
    """One initial state a seed, spun up side by side, ``(n, C, *X)``; spun-up states are kept in ``cache``."""
    raw = torch.cat([system.sample_x0(1, np.random.RandomState(seed)) for seed in seeds])
    if type(system).spin_up is System.spin_up:
        return raw
    return cached(fingerprint(system, raw, "spin-up"), lambda: system.spin_up(raw), cache)


def plan(family: EnvironmentFamily) -> dict[str, tuple[int, Tensor, Tensor]]:
    """Trajectories an environment, parameters ``(E, P)`` and times ``(T,)`` of every set of a family."""
    b = family.budget
    return {
        "train": (b.train, family.seen, family.times),
        "valid": (b.valid, family.seen, family.times),
        "test": (b.test, family.seen, family.horizon_times),
        "adapt": (b.adapt, family.unseen, family.times),
        "adapt_test": (b.adapt_test, family.unseen, family.horizon_times),
    }


def provenance(family: EnvironmentFamily, name: str, seed: int, fidelity: str) -> dict[str, object]:
    """What the files of a set say of its origin."""
    return {
        "family": family.name,
        "arguments": json.dumps(family.arguments),
        "split": family.split,
        "set": name,
        "seed": seed,
        "fidelity": fidelity,
        "source": family.source,
        "leads_version": __version__,
    }


def _train_seed(k: int) -> int:
    return k


def _test_seed(k: int) -> int:
    return 2**31 - 1 - k


def _valid_seed(k: int) -> int:
    return 1_000_000_000 + k


#: The seed of initial state k of every set.
SEEDS: dict[str, Callable[[int], int]] = {
    "train": _train_seed,
    "valid": _valid_seed,
    "test": _test_seed,
    "adapt": _train_seed,
    "adapt_test": _test_seed,
}


def _solve(
    system: System,
    parameters: Tensor,
    x0: Tensor,
    times: Tensor,
    fidelity: str,
    attributes: dict[str, object],
    cache: bool | str | Path,
    dtype: torch.dtype,
) -> Trajectories:
    def make() -> Tensor:
        if not x0.numel():
            return x0.new_empty((*x0.shape[:2], len(times), *system.state_shape))
        if fidelity == "published":
            return system.simulate_published(x0, parameters, times)
        return system.simulate(x0, parameters, times)

    system.check_state(x0, leading=2)
    system.check_parameters(parameters)
    # Hashing the inputs names the set also where it is not kept.
    key = fingerprint(system, parameters, x0, times, fidelity)
    states = cached(key, make, cache)
    return Trajectories(
        states.to(dtype),
        times.double(),
        parameters.double(),
        channels=system.channels,
        parameter_specs=system.parameters,
        grid=system.grid,
        attributes={**attributes, "content": key},
    )
