"""Networks whose weights are affine in a code, for very many codes: the weights of no environment are ever formed.

With ``W_e = W_0 + sum_k c_k W_k`` a layer is ``x W_e = x W_0 + sum_k c_k (x W_k)``: one product of the states of ALL
environments with the stacked ``[W_0 | W_1 | ... | W_d]``, then a sum weighted by each one's code. Derivatives along the
code are carried beside the value as d more rows: ``d(x W_e)/dc_k = (dx/dc_k) W_e + x W_k``, whose last term is there
already. One pass so gives the field and its Jacobian, where differences need 2 d + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import softplus


class CodedLayer(Protocol):
    """A linear layer, affine in the code; a dataclass of tensors."""

    def __call__(self, x: Tensor, code: Tensor) -> Tensor:
        """The layer of value and tangents: ``x`` ``(E, N, 1 + d, in)``, ``code`` ``(E, d)``; ``(E, N, 1 + d, out)``."""
        ...


@dataclass(frozen=True)
class StackedLayer:
    """``W_e = W_0 + sum_k c_k W_k``: ``weight`` is ``(in, (1 + d) out)``, ``bias`` ``(1 + d, out)``."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor, code: Tensor) -> Tensor:
        d = code.shape[1]
        y = (x.reshape(-1, x.shape[-1]) @ self.weight).reshape(*x.shape[:-1], 1 + d, -1)
        # Entry k of y's axis -2 is the product with W_k; of its axis -3, row 0 is the value and row k the tangent.
        z = y[..., 0, :]
        for k in range(d):
            z = z + code[:, k].reshape(-1, 1, 1, 1) * y[..., k + 1, :]
        shift = torch.cat([_affine(self.bias, code)[:, None], self.bias[1:].expand(len(code), -1, -1)], 1)
        own = torch.cat([torch.zeros_like(y[:, :, :1, 0]), y[:, :, 0, 1:]], 2)
        return z + own + shift[:, None]


@dataclass(frozen=True)
class FactoredLayer:
    """``W_e = W + A diag(c) B``: ``weight`` ``(in, out)``, ``right`` ``(in, d)``, ``left`` ``(d, out)``, ``bias`` ``(1 + d, out)``."""

    weight: Tensor
    right: Tensor
    left: Tensor
    bias: Tensor

    def __call__(self, x: Tensor, code: Tensor) -> Tensor:
        e, n, rows, _ = x.shape
        y = (x.reshape(-1, x.shape[-1]) @ torch.cat([self.weight, self.right], 1)).reshape(e, n, rows, -1)
        z, p = y.split([self.weight.shape[1], self.right.shape[1]], -1)
        # Row k of the last product is c_k's own: (x B)_k e_k beside the tangent's (dx B) diag(c).
        own = torch.cat([torch.zeros_like(p[:, :, :1]), torch.diag_embed(p[:, :, 0])], 2)
        mixed = code[:, None, None] * p + own
        shift = torch.cat([_affine(self.bias, code)[:, None], self.bias[1:].expand(len(code), -1, -1)], 1)
        return z + (mixed.reshape(-1, mixed.shape[-1]) @ self.left).reshape(e, n, rows, -1) + shift[:, None]


def coded_swish(x: Tensor, slope: Tensor, code: Tensor) -> Tensor:
    """``x sigmoid(x s) / 1.1`` with ``s = softplus(slope_e)`` of value and tangents ``(E, N, 1 + d, width)``.

    Args:
        x: what comes before the activation.
        slope: ``(1 + d,)``, of which the environment's is ``slope[0] + c . slope[1:]``.
        code: ``(E, d)``.
    """
    raw = (slope[0] + code @ slope[1:]).reshape(-1, 1, 1, 1)
    s = softplus(raw)
    ds = torch.sigmoid(raw) * slope[1:].reshape(1, 1, -1, 1)
    value, tangent = x[:, :, :1], x[:, :, 1:]
    gate = torch.sigmoid(s * value)
    out = value * gate / 1.1
    curve = value * gate * (1 - gate) / 1.1  # d out / d s = value * curve, d out / d value = gate / 1.1 + s * curve
    return torch.cat([out, (gate / 1.1 + s * curve) * tangent + (value * curve) * ds], 2)


@dataclass(frozen=True)
class CodedPerceptron:
    """Linear layers with swish between them, all affine in a code: ``slopes`` has one row ``(1 + d,)`` a hidden layer."""

    layers: Sequence[CodedLayer]
    slopes: Tensor

    def __call__(self, x: Tensor, code: Tensor) -> Tensor:
        """Field and its derivative along the code.

        Args:
            x: states and their derivatives along each entry of the code, ``(E, N, 1 + d, C)``, value first.
            code: ``(E, d)``.
        """
        for layer, slope in zip(self.layers, self.slopes, strict=False):
            x = coded_swish(layer(x, code), slope, code)
        return self.layers[-1](x, code)

    def tensors(self) -> list[Tensor]:
        """All weights, in the order that :meth:`with_tensors` takes."""
        return [w for layer in self.layers for w in vars(layer).values()] + [self.slopes]

    def with_tensors(self, tensors: Sequence[Tensor]) -> CodedPerceptron:
        """The same network with other weights."""
        rest = iter(tensors)
        layers = [type(layer)(*(next(rest) for _ in vars(layer))) for layer in self.layers]
        return CodedPerceptron(layers, next(rest))

    def to(self, like: Tensor) -> CodedPerceptron:
        """The same network, constant, in the precision and on the device of ``like``."""
        return self.with_tensors([w.detach().to(like) for w in self.tensors()])


@runtime_checkable
class Coded(Protocol):
    """An adapter that can give its field in this form."""

    def coded(self) -> CodedPerceptron | None:
        """The field for very many codes, the one entry of its contexts; ``None`` where its network has no such form."""
        ...


def stacked_layer(weight: Tensor, bias: Tensor) -> StackedLayer:
    """From ``weight`` ``(1 + d, out, in)`` and ``bias`` ``(1 + d, out)``: the shared ones first, then those of the code."""
    return StackedLayer(weight.permute(2, 0, 1).flatten(1).contiguous(), bias)


def _affine(basis: Tensor, code: Tensor) -> Tensor:
    return basis[0] + code @ basis[1:]
