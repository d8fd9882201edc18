"""Every weight moves by a low-rank matrix whose diagonal is the code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leads.adapters.adapter import Context, MakeBackbone, WeightAdapter, adapters
from leads.backbones.coded import CodedPerceptron, FactoredLayer
from leads.backbones.mlp import MLP
from leads.errors import SettingsError
from leads.trajectories import Trajectories


@adapters.register("low_rank")
class LowRank(WeightAdapter):
    """``W_e = W + s A diag(c_e) B``, ``b_e = b + s B_b c_e``: the rank of the shift is the size of the code.

    A kernel has one pair of factors per position, a spectral weight one pair of complex factors per mode. Vectors (biases, activation slopes) shift linearly.

    Args:
        make_backbone: makes the network; its own weights are the shared ones.
        dim: size of the code c, which is the rank.
        scale: s.
        code: coefficient of the penalty ``sum_e |c_e|^2``.

    Source: Koupai et al. (2024), GEPS, section 3.2 (its spectral layers follow the same rule, a pair per mode).
    """

    def __init__(self, make_backbone: MakeBackbone, dim: int = 8, scale: float = 1.0, code: float = 0.0) -> None:
        super().__init__(make_backbone)
        if dim < 1:
            raise SettingsError(f"The code needs at least one dimension, got dim={dim}.")
        self.dim, self.scale, self.code = dim, scale, code
        self.left, self.right, self.shift = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        self.complex = frozenset(self.backbone.complex_weights())
        for name, w in self.backbone.named_parameters():
            key = name.replace(".", "/")  # a ParameterDict refuses dots
            if w.ndim == 1:
                self.shift[key] = nn.Parameter(_orthogonal(w.shape[0], dim))
            elif name in self.complex:
                out, inp, *positions, _ = w.shape
                self.left[key] = nn.Parameter(_unitary(out, dim, *positions))
                self.right[key] = nn.Parameter(_unitary(dim, inp, *positions))
            else:
                out, inp, *positions = w.shape
                self.left[key] = nn.Parameter(_orthogonal(out, dim, *positions))
                self.right[key] = nn.Parameter(_orthogonal(dim, inp, *positions))

    def init_context(self) -> Context:
        return {"code": next(self.backbone.parameters()).new_zeros(self.dim)}

    def effective(self, context: Context) -> dict[str, Tensor]:
        c = self.scale * context["code"]
        weights = self.backbone.own_weights()
        for name, w in weights.items():
            key = name.replace(".", "/")
            if w.ndim == 1:
                weights[name] = w + self.shift[key] @ c
            elif name in self.complex:
                weights[name] = w + _complex_product(self.left[key], c, self.right[key])
            else:
                weights[name] = w + torch.einsum("or...,r,ri...->oi...", self.left[key], c, self.right[key])
        return weights

    def coded(self) -> CodedPerceptron | None:
        """The field for very many codes (see :mod:`leads.backbones.coded`); ``None`` unless the backbone is a perceptron."""
        if not isinstance(self.backbone, MLP):
            return None
        weights = self.backbone.own_weights()

        def vector(name: str) -> Tensor:
            return torch.cat([weights[name][None], self.scale * self.shift[name.replace(".", "/")].T])

        def layer(weight: str, bias: str) -> FactoredLayer:
            key = weight.replace(".", "/")
            return FactoredLayer(weights[weight].T, self.right[key].T, self.scale * self.left[key].T, vector(bias))

        return self.backbone.coded(layer, vector)

    def penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        return super().penalty(contexts, batch) + self.code * contexts["code"].square().sum()


def _orthogonal(rows: int, columns: int, *positions: int) -> Tensor:
    """A matrix with orthonormal rows or columns for every kernel position, shape ``(rows, columns, *positions)``."""
    count = 1
    for n in positions:
        count *= n
    stack = torch.stack([nn.init.orthogonal_(torch.empty(rows, columns)) for _ in range(count)], -1)
    return stack.reshape(rows, columns, *positions)


def _unitary(rows: int, columns: int, *positions: int) -> Tensor:
    """A complex matrix with orthonormal rows or columns for every mode, as pairs: ``(rows, columns, *positions, 2)``."""
    tall = max(rows, columns), min(rows, columns)
    q = torch.linalg.qr(torch.complex(torch.randn(*positions, *tall), torch.randn(*positions, *tall)))[0]
    q = q if rows >= columns else q.mH
    return torch.view_as_real(q.movedim((-2, -1), (0, 1)).contiguous())


def _complex_product(left: Tensor, c: Tensor, right: Tensor) -> Tensor:
    """``A diag(c) B`` of every mode, all as pairs of real and imaginary parts on the last axis."""
    a = torch.complex(left[..., 0], left[..., 1])
    b = torch.complex(right[..., 0], right[..., 1])
    product = torch.einsum("or...,ri...->oi...", a * c.reshape(1, -1, *(1,) * (a.ndim - 2)), b)
    return torch.stack([product.real, product.imag], -1)
