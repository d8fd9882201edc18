"""Scores of maps of sea-surface height by their error, as the 2020a mapping challenge takes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leads.ocean.scores.checks import same_shape, valid


@dataclass(frozen=True)
class MappingScore:
    """Scores without unit; 1 is a perfect map, 0 one of zeros.

    Attributes:
        in_time: ``1 - rms(error) / rms(truth)`` over the plane, at each time, ``(..., T)``; NaN where nothing is known.
        mu: the same over the whole block, ``(...)``.
        sigma: standard deviation of ``in_time``, ``(...)``, dividing by the number of times.
        rmse: root mean square error over the block, ``(...)``, in the unit of the field.
        rmse_map: in time, at each point, ``(..., Y, X)``; NaN on land.
    """

    in_time: Tensor
    mu: Tensor
    sigma: Tensor
    rmse: Tensor
    rmse_map: Tensor


def mapping_score(estimate: Tensor, truth: Tensor, mask: Tensor | None = None) -> MappingScore:
    """Score maps by their root mean square error.

    Source: the 2020a challenge (Le Guillou, Metref, Cosme et al. 2021, J. Atmos. Oceanic Technol. 38, section 4);
    github.com/ocean-data-challenges/2020a_SSH_mapping_NATL60, RMSE-based scores. Points have equal weights, as there.

    Args:
        estimate: maps ``(..., T, Y, X)``; leading axes are a batch.
        truth: of the same shape; NaN on land.
        mask: True where to score, broadcasting against ``truth``; by default wherever the truth is finite.

    Raises:
        ShapeError: shapes that differ.
        DataError: nothing to score, or an estimate that is missing where the truth is known.
    """
    same_shape(estimate, truth, 3)
    keep = valid(estimate, truth, mask, "Mapping score")
    zero = torch.zeros((), dtype=truth.dtype, device=truth.device)
    error = torch.where(keep, estimate - truth, zero).square()
    signal = torch.where(keep, truth, zero).square()
    plane, block = (-2, -1), (-3, -2, -1)
    in_time = 1 - (error.sum(plane) / signal.sum(plane)).sqrt()
    seen = keep.flatten(-2).any(-1)
    in_time = torch.where(seen, in_time, torch.nan)
    mean = in_time.nanmean(-1, keepdim=True)
    return MappingScore(
        in_time=in_time,
        mu=1 - (error.sum(block) / signal.sum(block)).sqrt(),
        sigma=(in_time - mean).square().nanmean(-1).sqrt(),
        rmse=(error.sum(block) / keep.sum(block)).sqrt(),
        rmse_map=(error.sum(-3) / keep.sum(-3)).sqrt(),
    )
