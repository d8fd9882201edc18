"""What the ocean scores ask of their input, said clearly where it does not hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from leads.errors import DataError, SettingsError, ShapeError

#: A spectrum needs two positive wavenumbers below the Nyquist one, between which a crossing can lie.
SHORTEST = 5


def same_shape(estimate: Tensor, truth: Tensor, axes: int, name: str = "estimate") -> None:
    """Raise unless both have the same shape, of at least ``axes`` axes."""
    if estimate.shape != truth.shape:
        raise ShapeError(
            f"The {name} has shape {tuple(estimate.shape)}, the truth {tuple(truth.shape)}. Interpolate one onto the "
            "grid of the other first."
        )
    if truth.ndim < axes:
        raise ShapeError(f"This score needs at least {axes} axes, got shape {tuple(truth.shape)}.")


def spacing(values: float | Sequence[float] | Tensor, count: int, name: str, tolerance: float = 1e-3) -> float:
    """Distance of neighbouring points: a number as it is, or that of a uniform coordinate ``(count,)``.

    Args:
        values: spacing, or coordinate.
        count: points along the axis.
        name: of the axis, for messages.
        tolerance: largest deviation of a step, relative to their mean; float32 coordinates pass.

    Raises:
        ShapeError: a coordinate of another length.
        SettingsError: a spacing that is not positive and finite, or a coordinate that is not uniform.
    """
    x = torch.as_tensor(values, dtype=torch.float64)
    if x.ndim == 0:
        step = float(x)
    else:
        if tuple(x.shape) != (count,):
            raise ShapeError(
                f"The coordinate {name} has shape {tuple(x.shape)}, the field has {count} points along it."
            )
        if count < 2:
            raise ShapeError(f"The coordinate {name} needs at least two points to have a spacing.")
        steps = x.diff()
        step = float(steps.mean())
        worst = float((steps - step).abs().max())
        if not worst <= tolerance * abs(step):
            i = int((steps - step).abs().argmax())
            raise SettingsError(
                f"The coordinate {name} is not uniform: the step after point {i} is {float(steps[i]):g}, the mean step "
                f"{step:g}. Interpolate onto a uniform grid first."
            )
        step = abs(step)
    if not (0 < step < float("inf")):
        raise SettingsError(f"The spacing of {name} must be positive and finite, got {step:g}.")
    return step


def long_enough(count: int, name: str, least: int = SHORTEST) -> None:
    """Raise unless an axis has ``least`` points."""
    if count < least:
        raise ShapeError(f"A spectrum along {name} needs at least {least} points, got {count}. Take a longer stretch.")


#: How to leave out on purpose what an estimate lacks.
BY_MASK = "mask=torch.isfinite(estimate)"


def valid(estimate: Tensor, truth: Tensor, mask: Tensor | None, what: str, mend: str = BY_MASK) -> Tensor:
    """Where to score: ``mask`` where given, else where the truth is finite (land is NaN).

    Raises:
        ShapeError: a mask that does not broadcast.
        DataError: nothing is left, or an estimate that is missing where the truth is known: skipping those points would
            reward a method for leaving out what is hard.
    """
    finite = torch.isfinite(truth)
    if mask is not None:
        try:
            mask = mask.to(finite.device, torch.bool).expand(truth.shape)
        except RuntimeError:
            raise ShapeError(
                f"The mask has shape {tuple(mask.shape)}, which does not broadcast to {tuple(truth.shape)}."
            ) from None
        finite = finite & mask
    if not bool(finite.any()):
        raise DataError(f"{what}: the truth has no finite value (all land or all missing). Choose another window.")
    lost = int((finite & ~torch.isfinite(estimate)).sum())
    if lost:
        raise DataError(
            f"{what}: the estimate is NaN or infinite at {lost} of {int(finite.sum())} points where the truth is known. "
            f"Fill them, or leave them out on purpose by {mend}."
        )
    return finite
