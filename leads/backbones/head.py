"""Two point-wise layers with swish between them, whose wide middle is never kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from leads.integrators import refuse_second, taken_once


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
        out = x.new_empty(*x.shape[:2], last.shape[2], x.shape[3])
        for e in range(x.shape[0]):
            w, b, v, c = first[e, 0], shift[e, 0], last[e, 0], last_shift[e, 0]
            for n in range(x.shape[1]):
                torch.addmm(c, v, silu(torch.addmm(b, w, x[e, n])), out=out[e, n])
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        refuse_second()
        x, first, shift, last = ctx.saved_tensors
        dx, dw, db, dv = (torch.zeros_like(y) for y in (x, first, shift, last))
        for e in range(x.shape[0]):
            w, b, v = first[e, 0], shift[e, 0], last[e, 0]
            for n in range(x.shape[1]):
                seen, g = x[e, n], gradient[e, n]
                z = torch.addmm(b, w, seen)
                dv[e, 0].addmm_(g, silu(z).T)
                dz = torch.ops.aten.silu_backward(torch.mm(v.T, g), z)
                dw[e, 0].addmm_(dz, seen.T)
                db[e, 0].add_(dz.sum(1, keepdim=True))
                torch.mm(w.T, dz, out=dx[e, n])
        dc = gradient.sum((1, 3))[:, None, :, None]
        return dx, dw, db, dv, dc
