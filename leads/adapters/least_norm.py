"""The split of a hybrid's field into physics and network that makes the network's part smallest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jacfwd

from leads.adapters.adapter import Context
from leads.adapters.hybrid import Hybrid
from leads.adapters.physics import bounded
from leads.errors import DataError, SettingsError
from leads.trajectories import Trajectories

#: Gauss-Newton steps; physics that is linear in its parameters takes one or two.
STEPS = 50


@dataclass(frozen=True)
class LeastNorm:
    """Physical parameters of the least-norm split.

    Attributes:
        parameters: by name, shape ``()`` for shared parameters.
        size: ``S``, the mean over environments of the learned part's size with these parameters.
        size_before: the same with the model's own parameters.
    """

    parameters: dict[str, Tensor]
    size: float
    size_before: float


@torch.no_grad()
def least_norm(hybrid: Hybrid, contexts: Context, data: Trajectories) -> LeastNorm:
    """Shared physical parameters that solve APHYNITY's problem for the field that was learned.

    The sum ``F = F_p(theta_p) + F_a`` is what fits the trajectories; among all splits of the same sum the method asks for
    the one whose ``F_a`` is smallest:

        min_theta  S(F - F_p(theta)),

    with S as in :class:`Hybrid` (``normalised`` or not), on the states of ``data``. Training reaches it slowly, along a
    valley in which the fit hardly changes; here it is solved by Gauss-Newton over the few shared parameters. The model is
    not changed: its forecasts are the same under either split.

    Args:
        hybrid: physics with shared parameters and a network, mode ``"additive"``.
        contexts: of the environments of ``data``.
        data: where the parts are measured; training data as a rule.

    Raises:
        SettingsError: no physics, no network, no shared parameter, or another mode.
        DataError: the parts are not finite on the data.

    Source: Yin et al. (2021), APHYNITY, section 3.1: the decomposition that is unique for a Chebyshev set.
    """
    physics = hybrid.physics
    if physics is None or hybrid.learned is None or hybrid.mode != "additive" or not physics.shared_start:
        raise SettingsError(
            "The least-norm split needs physics with shared parameters and a network added to it (mode='additive')."
        )
    states = data.states if data.mask is None else torch.where(data.mask, data.states, data.states.new_zeros(()))
    x = states.flatten(1, 2).to(physics.like)
    t = data.times.to(x).repeat(data.n_trajectories)[None]
    parameters, learned = hybrid.prepare_all(contexts)
    added = hybrid.learned.forward_all(t, x, learned)
    total = (physics(t, x, parameters) + added).double()
    norm = (x.norm(dim=2, keepdim=True) + 1e-5).double() if hybrid.normalised else total.new_ones(())
    entries = total.shape[2] if hybrid.normalised else 1
    if not bool(torch.isfinite(total).all()):
        raise DataError("Physics or network is not finite on these states, so their sizes cannot be compared.")
    names = list(physics.shared_start)
    columns = [physics.system.parameter_index(name) for name in names]
    specs = [physics.system.parameters[i] for i in columns]
    x, t, fixed = x.double(), t.double(), parameters.double()

    def values(free: Tensor) -> Tensor:
        return torch.stack([bounded(spec, r) for spec, r in zip(specs, free, strict=True)])

    def left(free: Tensor) -> Tensor:
        moved = fixed.index_copy(-1, torch.tensor(columns, device=x.device), values(free).expand(*fixed.shape[:-1], -1))
        return (total - physics(t, x, moved)) / norm

    def size(free: Tensor) -> Tensor:
        return entries * left(free).square().mean()

    best = torch.stack([physics.free[name].detach().double() for name in names])
    before = lowest = float(size(best))
    for _ in range(STEPS):
        jacobian = jacfwd(left)(best).flatten(0, -2)
        step = torch.linalg.lstsq(jacobian, -left(best).flatten()[:, None], driver="gelsd").solution[:, 0]
        while (trial := float(size(best + step))) > lowest and float(step.abs().max()) > 1e-12:
            step = step / 2
        if not trial < lowest * (1 - 1e-14):
            break
        best, lowest = best + step, trial
    found = dict(zip(names, values(best), strict=True))
    return LeastNorm(hybrid.physical(contexts) | found, lowest, before)
