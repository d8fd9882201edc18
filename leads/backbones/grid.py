"""What the networks for states on a grid have in common."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leads.errors import SettingsError


def space_axes(name: str, state_shape: tuple[int, ...]) -> int:
    """Number of space axes, 1 or 2, of states ``(C, X)`` or ``(C, Y, X)``.

    Raises:
        SettingsError: the states have no space axes, or more than two.
    """
    space = len(state_shape) - 1
    if space not in (1, 2):
        instead = " Choose backbone='mlp' for states without space axes." if space < 1 else ""
        raise SettingsError(
            f"The {name} backbone takes states (C, X) or (C, Y, X), this system's are {tuple(state_shape)}.{instead}"
        )
    return space


def require_positive(name: str, **sizes: int) -> None:
    """Raise SettingsError unless every size is at least 1."""
    for setting, value in sizes.items():
        if value < 1:
            raise SettingsError(f"The {name} backbone needs {setting} >= 1, got {value}.")


def periodic_convolution(name: str, state_shape: tuple[int, ...], inputs: int, outputs: int, kernel: int) -> nn.Module:
    """A convolution that keeps the grid, on which opposite edges are neighbours.

    Raises:
        SettingsError: an even kernel, or one whose padding is wider than the grid.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise SettingsError(f"The {name} backbone needs an odd kernel size, got {kernel}.")
    if min(state_shape[1:]) < kernel // 2:
        raise SettingsError(f"The grid {tuple(state_shape[1:])} is smaller than half the kernel size {kernel}.")
    kind = nn.Conv1d if len(state_shape) == 2 else nn.Conv2d
    return kind(inputs, outputs, kernel, padding=kernel // 2, padding_mode="circular")


def coordinates(x: Tensor, space: int) -> Tensor:
    """Coordinates from 0 at the first to 1 at the last point of each axis of ``x (N, C, *X)``: ``(N, space, *X)``."""
    axes = [torch.linspace(0, 1, n, dtype=x.dtype, device=x.device) for n in x.shape[-space:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(x.shape[0], space, *x.shape[-space:])
