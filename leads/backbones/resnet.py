"""Residual periodic convolutions for states on a grid."""

from __future__ import annotations

from torch import Tensor, nn

from leads.backbones.backbone import Backbone, Swish, backbones
from leads.backbones.grid import periodic_convolution, require_positive, space_axes


class _Block(nn.Module):
    """``v + conv(swish(conv(swish(v))))``."""

    def __init__(self, state_shape: tuple[int, ...], width: int, kernel: int) -> None:
        super().__init__()
        self.before = Swish()
        self.first = periodic_convolution("resnet", state_shape, width, width, kernel)
        self.between = Swish()
        self.second = periodic_convolution("resnet", state_shape, width, width, kernel)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.between(self.first(self.before(x))))


@backbones.register("resnet")
class ResNet(Backbone):
    """A periodic convolution, ``blocks`` residual blocks ``v + conv(swish(conv(swish(v))))``, and one convolution out.

    The grid's resolution is kept throughout, so the network commutes with shifts of the grid and serves any grid.

    Args:
        state_shape: ``(C, X)`` or ``(C, Y, X)``.
        width: channels of a block.
        blocks: number of blocks.
        kernel: odd kernel size.
        factor: the output is multiplied by it.

    Raises:
        SettingsError: states without one or two space axes, an even kernel, or one wider than the grid.

    Source: He et al. (2016), Identity mappings in deep residual networks (activations first), without normalisation,
    which would need statistics of the batch, and with periodic padding.
    """

    def __init__(
        self, state_shape: tuple[int, ...], width: int = 64, blocks: int = 4, kernel: int = 3, factor: float = 1.0
    ) -> None:
        super().__init__(state_shape)
        space_axes("resnet", state_shape)
        require_positive("resnet", width=width, blocks=blocks)
        self.factor = factor
        self.lift = periodic_convolution("resnet", state_shape, state_shape[0], width, kernel)
        self.blocks = nn.Sequential(*(_Block(state_shape, width, kernel) for _ in range(blocks)))
        self.activation = Swish()
        self.out = periodic_convolution("resnet", state_shape, width, state_shape[0], kernel)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        del t
        return self.factor * self.out(self.activation(self.blocks(self.lift(x))))
