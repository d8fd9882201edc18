"""Convolutional network for states on a piece of a plane: its edges are open, not neighbours of each other."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from leads.backbones.backbone import backbones
from leads.backbones.conv import PeriodicConv
from leads.errors import UnknownNameError
from leads.registry import nearest

PADDINGS = ("constant", "replicate", "reflect")


@backbones.register("open_conv")
class OpenConv(PeriodicConv):
    """The network of :class:`PeriodicConv` for windows cut out of a larger field, as regions of the sea are.

    Args:
        state_shape: ``(C, X)`` or ``(C, Y, X)``.
        width, depth, kernel, factor: see there.
        padding: what stands beyond the edges: ``"constant"`` (zero, the mean of an anomaly), ``"replicate"`` (the value at
            the edge) or ``"reflect"``.

    Raises:
        UnknownNameError: another padding. SettingsError: as :class:`PeriodicConv`.
    """

    def __init__(
        self,
        state_shape: tuple[int, ...],
        width: int = 64,
        depth: int = 4,
        kernel: int = 3,
        factor: float = 1.0,
        padding: Literal["constant", "replicate", "reflect"] = "replicate",
    ) -> None:
        super().__init__(state_shape, width, depth, kernel, factor)
        if padding not in PADDINGS:
            raise UnknownNameError(f"No padding is named {padding!r}. {nearest(str(padding), PADDINGS)}")
        self.padding = padding

    def _pad(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, (self.kernel // 2,) * (2 * self.space), mode=self.padding)
