"""Observations of full trajectories by an operator."""

from __future__ import annotations

from dataclasses import replace

import torch

from leads.errors import DataError
from leads.observation import Operator
from leads.trajectories.trajectories import Trajectories, require_trajectories


def observe(data: Trajectories, operator: Operator, seed: int = 0) -> Trajectories:
    """What ``operator`` sees of ``data``: observed channels as states, with NaN and a mask where nothing is seen.

    Args:
        data: full states, or observations that are observed once more.
        operator: see :mod:`leads.observation`; it is tied to the data here.
        seed: of noise and gaps; the same data and seed give the same observations on every device.

    Returns:
        Trajectories of the same environments and times, which carry the operator (after that of ``data``, where they
        have one). Where everything is seen there is no mask.

    Raises:
        SettingsError, ShapeError: an operator that cannot observe such states.
        DataError: nothing at all is seen.
    """
    require_trajectories(data, "observe")
    operator = operator.bind(data)
    x, device = data.states, data.states.device
    t = data.times.to(device)
    known = torch.ones_like(x, dtype=torch.bool) if data.mask is None else data.mask
    y, seen = operator.observe(x, known, t, torch.Generator().manual_seed(seed))
    seen = seen.expand(y.shape)
    if not bool(seen.any()):
        raise DataError(f"{type(operator).__name__} sees nothing of these data: no point at any of their times.")
    every = bool(seen.all())
    output = operator.output
    return replace(
        data,
        states=y if every else torch.where(seen, y, torch.nan),
        mask=None if every else seen,
        channels=output.channels,
        grid=output.grid,
        operator=operator if data.operator is None else (data.operator | operator).bind(data.operator.bound),
        attributes={**data.attributes, "observation_seed": seed},
    )
