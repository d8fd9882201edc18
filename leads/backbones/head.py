"""Two point-wise layers with swish between them, whose wide middle is never kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from leads.errors import SettingsError
from leads.integrators import taken_once


def pointwise_head(x: Tensor, first: Tensor, shift: Tensor, last: Tensor, last_shift: Tensor) -> Tensor:
    """``last silu(first x + shift) + last_shift`` at every point, for many environments.

    Where gradients are promised to be taken once (:func:`leads.integrators.gradients_once`), sample after sample, so that
    the hidden channels stay in the processor's cache and none of them is kept: the way back computes them again. An FNO's
    projection to 128 channels otherwise moves more memory than all the rest of the network.

    Args:
        x: shape ``(E, N, in, P)``.
        first, last: ``(E, 1, hidden, in)`` and ``(E, 1, out, hidden)``.
        shift, last_shift: ``(E, 1, hidden, 1)`` and ``(E, 1, out, 1)``.

    Returns:
        Shape ``(E, N, out, P)``.
    """
    if taken_once() and torch.is_grad_enabled():
        out: Tensor = _Head.apply(x, first, shift, last, last_shift)  # type: ignore[no-untyped-call]
        return out
    return torch.matmul(last, silu(torch.matmul(first, x) + shift)) + last_shift


class _Head(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, first: Tensor, shift: Tensor, last: Tensor, last_shift: Tensor) -> Tensor:
        ctx.save_for_backward(x, first, shift, last)
        w, b, v, c = first[:, 0], shift[:, 0], last[:, 0], last_shift[:, 0]
        out = x.new_empty(*x.shape[:2], v.shape[1], x.shape[3])
        for n in range(x.shape[1]):
            out[:, n] = torch.baddbmm(c, v, silu(torch.baddbmm(b, w, x[:, n])))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        if torch.is_grad_enabled():
            raise SettingsError(
                "Gradients of this rollout were promised to be taken once (gradients_once), and are asked for with a graph "
                "of their own (create_graph). Roll out without the promise."
            )
        x, first, shift, last = ctx.saved_tensors
        w, b, v = first[:, 0], shift[:, 0], last[:, 0]
        dx = torch.empty_like(x)
        dw, db, dv = torch.zeros_like(w), torch.zeros_like(b), torch.zeros_like(v)
        for n in range(x.shape[1]):
            seen, g = x[:, n], gradient[:, n]
            z = torch.baddbmm(b, w, seen)
            dv.baddbmm_(g, silu(z).mT)
            dz = torch.ops.aten.silu_backward(torch.bmm(v.mT, g), z)
            dw.baddbmm_(dz, seen.mT)
            db += dz.sum(2, keepdim=True)
            dx[:, n] = torch.bmm(w.mT, dz)
        dc = gradient.sum((1, 3))[:, None, :, None]
        return dx, dw.unsqueeze(1), db.unsqueeze(1), dv.unsqueeze(1), dc
