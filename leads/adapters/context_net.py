"""A network of three parts: of the state, of the context, and of both."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from leads.adapters.adapter import Adapter, Context, MakeBackbone, adapters
from leads.backbones import Swish
from leads.errors import SettingsError


@adapters.register("context_net")
class ContextNet(Adapter):
    """``dx/dt = factor shared([state(x), context(xi)])``.

    The state network has three layers, C to ``width``; the context network three, ``dim`` to ``dim / 4`` (``width``
    where ``dim`` is smaller than that) to ``width`` to ``width``; the shared network four, from both side by side back to
    C, with learned-slope swish between layers. For fields, layers of state and shared network are convolutions with
    periodic padding, and the context's features are the same everywhere. 308,233 parameters for two channels and a code
    of 1024.

    Args:
        make_backbone: only the shape of its state is used; the network is the adapter's own.
        dim: size of the code xi; it starts at zero.
        width: units, or channels, of a hidden layer.
        kernel: odd kernel size, for fields.
        factor: the output is multiplied by it (Gray-Scott: 1e-2).

    Source: Nzoyem et al. (2025), Neural Context Flows: paper and public code.
    """

    def __init__(
        self, make_backbone: MakeBackbone, dim: int = 256, width: int = 64, kernel: int = 3, factor: float = 1.0
    ) -> None:
        super().__init__()
        shape = make_backbone().state_shape
        channels, space = shape[0], len(shape) - 1
        if dim < 1 or width < 1:
            raise SettingsError(f"The three-part network needs dim >= 1 and width >= 1, got {dim} and {width}.")
        if kernel < 1 or kernel % 2 == 0:
            raise SettingsError(f"The three-part network needs an odd kernel size, got {kernel}.")
        if space > 2:
            raise SettingsError(f"The three-part network takes states (C,), (C, X) or (C, Y, X), these are {shape}.")
        if space and min(shape[1:]) < kernel // 2:
            raise SettingsError(f"The grid {shape[1:]} is smaller than half the kernel size {kernel}.")
        self.dim, self.factor, self.shape = dim, factor, shape
        self.state = _Stack([channels, width, width, width], space, kernel)
        self.context = _Stack([dim, dim // 4 if dim >= width and dim >= 4 else width, width, width], 0, 1)
        self.shared = _Stack([2 * width, width, width, width, channels], space, kernel)

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.shape

    def init_context(self) -> Context:
        return {"code": next(self.parameters()).new_zeros(self.dim)}

    def prepare(self, context: Context) -> Tensor:
        return self.context(context["code"])

    def forward(self, t: Tensor, x: Tensor, prepared: Tensor) -> Tensor:
        del t
        return self._field(x, prepared.expand(x.shape[0], -1))

    def prepare_all(self, contexts: Context) -> Tensor:
        return self.context(contexts["code"])

    def forward_all(self, t: Tensor, x: Tensor, prepared: Tensor) -> Tensor:
        del t
        e, n = x.shape[:2]
        features = prepared[:, None].expand(e, n, -1).flatten(0, 1)
        return self._field(x.flatten(0, 1), features).reshape(x.shape)

    def expand_all(self, t: Tensor, x: Tensor, jet: tuple[Tensor, ...]) -> Tensor:
        """The expansion of the field at ``x`` ``(E, N, *state)`` along context features with value, slope and curvature
        ``jet``, each ``(E, width)`` (see :class:`leads.adapters.taylor.Expandable`).

        Derivatives pass through the layers beside the value, in closed form: those of the features are alike for all
        states, so the first layer takes them once an environment, and every later one takes all orders in one product.
        """
        del t
        e, n = x.shape[:2]
        first, *later = (_weights(layer) for layer in self.shared.layers)
        y = self.state(x.flatten(0, 1))
        (weight, offset), width = first, y.shape[1]
        # A constant field stays constant under a periodic convolution with the sum of its kernel.
        kernel = weight[:, width:].flatten(2).sum(2) if weight.ndim > 2 else weight[:, width:]
        value = self.shared.layer(y, weight[:, :width], offset).unflatten(0, (e, n))
        orders = [(d @ kernel.T).reshape(e, 1, -1, *(1,) * (x.ndim - 3)) for d in jet]
        terms = [value + orders[0], *orders[1:]]
        for (matrix, offset), activation in zip(later, self.shared.activations, strict=True):
            stacked = torch.stack([d.expand_as(terms[0]) for d in _swish(activation).jet(*terms)])
            out = self.shared.layer(stacked.flatten(0, 2), matrix).unflatten(0, stacked.shape[:3])
            bias = offset.reshape(-1, *(1,) * (x.ndim - 3))
            terms = [out[0] + bias, *out[1:]]
        total = terms[0] + terms[1] if len(terms) == 2 else terms[0] + terms[1] + 0.5 * terms[2]
        return self.factor * total.reshape(x.shape)

    def _field(self, x: Tensor, features: Tensor) -> Tensor:
        y = self.state(x)
        wide = features.reshape(*features.shape, *(1,) * (x.ndim - 2)).expand(*features.shape, *x.shape[2:])
        return self.factor * self.shared(torch.cat([y, wide], 1))


class _Stack(nn.Module):
    """Layers of these sizes with swish between them: linear, or periodic convolutions on ``space`` axes."""

    def __init__(self, sizes: list[int], space: int, kernel: int) -> None:
        super().__init__()
        self.pad = (kernel // 2,) * (2 * space)
        self.layers = nn.ModuleList(_layer(i, o, space, kernel) for i, o in pairwise(sizes))
        self.activations = nn.ModuleList(Swish() for _ in sizes[2:])

    def forward(self, x: Tensor) -> Tensor:
        for layer, activation in zip(self.layers, self.activations, strict=False):
            x = activation(layer(self._padded(x)))
        return self.layers[-1](self._padded(x))

    def layer(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """One layer with these weights."""
        if not self.pad:
            return nn.functional.linear(x, weight, bias)
        convolve = nn.functional.conv1d if weight.ndim == 3 else nn.functional.conv2d
        return convolve(self._padded(x), weight, bias)

    def _padded(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, self.pad, mode="circular") if self.pad else x


def _layer(inputs: int, outputs: int, space: int, kernel: int) -> nn.Module:
    if space == 0:
        return nn.Linear(inputs, outputs)
    return nn.Conv1d(inputs, outputs, kernel) if space == 1 else nn.Conv2d(inputs, outputs, kernel)


def _weights(layer: nn.Module) -> tuple[Tensor, Tensor]:
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    return weight, bias


def _swish(activation: nn.Module) -> Swish:
    assert isinstance(activation, Swish)
    return activation
