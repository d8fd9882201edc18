"""Axes of a spectrum cut or padded to another number of modes, coefficients unscaled."""

from __future__ import annotations

import torch
from torch import Tensor


def resize_whole(xh: Tensor, axis: int, n: int) -> Tensor:
    """One whole axis of a spectrum cut or padded to ``n`` modes."""
    old = xh.shape[axis]
    if n == old:
        return xh
    low = min(n, old)
    positive, negative = (low + 1) // 2, (low - 1) // 2
    parts = [xh.narrow(axis, 0, positive)]
    if low % 2 == 0:
        nyquist = xh.narrow(axis, low // 2, 1)
        if n > old:
            nyquist = nyquist / 2
            parts += [nyquist, _zeros(xh, axis, n - old - 1), nyquist]
        else:
            parts += [nyquist + xh.narrow(axis, old - low // 2, 1)]
    elif n > old:
        parts += [_zeros(xh, axis, n - old)]
    return torch.cat([*parts, xh.narrow(axis, old - negative, negative)], axis)


def resize_half(xh: Tensor, others: tuple[int, ...], old: int, n: int) -> Tensor:
    """The half-length last axis, of ``old`` points, cut or padded to ``n`` points; ``others`` are the whole axes."""
    if n == old:
        return xh
    low = min(n, old)
    inner, size = xh[..., : (low + 1) // 2], n // 2 + 1
    if low % 2:
        return torch.cat([inner, _zeros(xh, -1, size - inner.shape[-1])], -1) if n > old else inner
    nyquist = xh[..., low // 2 : low // 2 + 1]
    if n > old:
        return torch.cat([inner, nyquist / 2, _zeros(xh, -1, size - inner.shape[-1] - 1)], -1)
    # The mode (k, -n/2) is the conjugate of the mode (-k, n/2).
    mirrored = nyquist.flip(others).roll((1,) * len(others), others) if others else nyquist
    return torch.cat([inner, nyquist + mirrored.conj()], -1)


def _zeros(xh: Tensor, axis: int, n: int) -> Tensor:
    shape = list(xh.shape)
    shape[axis] = n
    return xh.new_zeros(shape)
