"""What adapters share whose context enters beside the state of one network with further channels."""

from __future__ import annotations

from torch import Tensor

from leads.adapters.adapter import Adapter, Context, MakeBackbone
from leads.errors import SettingsError
from leads.trajectories import Trajectories


class WidenedAdapter(Adapter):
    """One network for all environments, remade for more channels, and a code of ``dim`` numbers for each.

    Args:
        make_backbone: makes the network for C channels; :meth:`leads.backbones.Backbone.widened` remakes it.
        dim: size of the code, zero at the start.
        code: coefficient of the penalty ``code sum_e |c_e|^2``.
    """

    #: What messages call the code.
    called = "code"

    def __init__(self, make_backbone: MakeBackbone, dim: int, code: float) -> None:
        super().__init__()
        if dim < 1:
            raise SettingsError(f"The {self.called} needs at least one dimension, got dim={dim}.")
        narrow = make_backbone()
        self.dim, self.code, self.channels = dim, code, narrow.state_shape[0]
        self.backbone = narrow.widened(self.further_channels())

    def further_channels(self) -> int:
        """How many channels the network has beside the state's C."""
        return self.dim

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (self.channels, *self.backbone.state_shape[1:])

    def init_context(self) -> Context:
        return {"code": next(self.backbone.parameters()).new_zeros(self.dim)}

    def prepare(self, context: Context) -> Tensor:
        return context["code"]

    def penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        return super().penalty(contexts, batch) + self.code * contexts["code"].square().sum()
