"""Which layers of a backbone a context moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from leads.backbones import Backbone
from leads.errors import UnknownNameError
from leads.registry import nearest

#: ``"first"``, ``"last"`` and ``"hidden"`` (all but the last) count layers with a matrix or a kernel, input to output.
LayerChoice = Literal["all", "first", "last", "hidden"] | Sequence[str]


def weighted_layers(backbone: Backbone) -> list[str]:
    """Layers that hold a matrix or a kernel, input to output: :meth:`Backbone.layers` without biases and slopes."""
    matrices = {layer_of(name) for name, w in backbone.named_parameters() if w.ndim > 1}
    return [layer for layer in backbone.layers() if layer in matrices]


def layer_of(parameter: str) -> str:
    """The layer that a parameter belongs to: its name without the last part."""
    return parameter.rsplit(".", 1)[0] if "." in parameter else parameter


def moving(backbone: Backbone, only: LayerChoice) -> list[str]:
    """Names of the parameters in the chosen layers.

    Args:
        backbone: any network.
        only: ``"all"`` parameters, those of the ``"first"``, the ``"last"`` or the ``"hidden"`` layers, or of all
            layers whose names start with these dotted parts.

    Raises:
        UnknownNameError: no such choice, or no layer of that name.
    """
    names = [name for name, _ in backbone.named_parameters()]
    layers = weighted_layers(backbone)
    choices = {"all": [layer_of(n) for n in names], "first": layers[:1], "last": layers[-1:], "hidden": layers[:-1]}
    if isinstance(only, str):
        if only not in choices:
            raise UnknownNameError(f"No layer choice is named {only!r}. {nearest(only, choices)}")
        return [name for name in names if layer_of(name) in choices[only]]
    for prefix in only:
        if not any(_starts(name, prefix) for name in names):
            raise UnknownNameError(f"No layer's name starts with {prefix!r}. {nearest(prefix, backbone.layers())}")
    return [name for name in names if any(_starts(name, prefix) for prefix in only)]


def _starts(name: str, prefix: str) -> bool:
    """Whole dotted parts only: ``layers.1`` is not the start of ``layers.10``."""
    return name == prefix or name.startswith(prefix.rstrip(".") + ".")
