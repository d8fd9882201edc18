"""Under which conditions environments were adapted, and whether a calibration was made under the like.

Calibrated bands keep their promise for environments that are exchangeable with the held-out ones, and these were
adapted to so many observations, over so long a time, with such noise. A calibration remembers that; where it is used
under others it says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leads.adaptation.support import counts
from leads.trajectories import Trajectories

if TYPE_CHECKING:
    from leads.adaptation.adapted import Adapted
    from leads.adaptation.ensembles import AdaptedEnsemble

#: How much more, or less, there may be of observed values and of time than was calibrated with.
SLACK = 1.25
#: Factor by which residuals may lie outside the range of the held-out ones.
NOISE = 2.0


def of_support(support: Trajectories, history: int, initial: str) -> dict[str, Any]:
    """What ``Adapted.info["support"]`` says of observations: ``trajectories`` of each environment, ``observed`` values
    that were fitted (a list, one number an environment), ``span`` of time, and whether first states were ``initial``ly
    given or estimated."""
    return {
        "trajectories": support.n_trajectories,
        "observed": [int(n) for n in counts(support, 0 if initial == "estimated" else history).tolist()],
        "span": float(support.times[-1] - support.times[0]),
        "initial": initial,
    }


def together(parts: Sequence[Adapted | AdaptedEnsemble], attributes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The conditions of held-out environments: those of the parts, with the fewest and the most ``observed`` values, and
    the ``noise`` and the ``seed`` that :func:`leads.held_out_environments` left in their attributes."""
    found = [p.members[0].info.get("support") for p in parts]
    if not all(found):
        return {}
    observed = [n for f in found if f for n in f["observed"]]
    drawn = {"noise": "noise", "held_out_seed": "seed"}
    known = {name: attributes[k] for k, name in drawn.items() if k in attributes} if attributes else {}
    return {**(found[0] or {}), "observed": [min(observed), max(observed)], **known}


def differences(conditions: Mapping[str, Any], residuals: Tensor, adapted: Adapted | AdaptedEnsemble) -> list[str]:
    """How the adaptation differs from what was calibrated with, one sentence each; none where nothing is known.

    Args:
        conditions: of the calibration, see :func:`together`.
        residuals: mean square errors on the support of the held-out environments, ``(K,)``.
        adapted: what is asked about.
    """
    own = adapted.members[0].info.get("support")
    if not conditions or not own:
        return []
    found = [
        _initial(conditions, own),
        _trajectories(conditions, own),
        _observed(conditions, own),
        _span(conditions, own),
    ]
    loss = torch.stack([m.support_loss() for m in adapted.members]).mean(0)
    return [sentence for sentence in (*found, _noise(residuals, loss)) if sentence]


def _initial(conditions: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    if own["initial"] == conditions["initial"]:
        return ""
    return (
        f"First states were {own['initial']}, the calibration was made with initial={conditions['initial']!r}: bands may be "
        "too narrow or too wide. Calibrate with the settings that you adapt with."
    )


def _trajectories(conditions: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    if own["trajectories"] == conditions["trajectories"]:
        return ""
    return (
        f"Adapted to {own['trajectories']} trajectories of each environment, calibrated with {conditions['trajectories']}: "
        f"{_effect(own['trajectories'] < conditions['trajectories'])} Calibrate with as many."
    )


def _observed(conditions: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    low, high = conditions["observed"]
    few = [e for e, n in enumerate(own["observed"]) if n < low / SLACK]
    many = [e for e, n in enumerate(own["observed"]) if n > high * SLACK]
    if own["trajectories"] != conditions["trajectories"] or not (few or many):
        return ""
    e = (few or many)[0]
    others = f" (and {len(few or many) - 1} others)" if len(few or many) > 1 else ""
    usual = str(low) if low == high else f"{low} to {high}"
    return (
        f"Environment {e}{others} was adapted to {own['observed'][e]} observed values, the calibration was made with "
        f"{usual}: {_effect(bool(few))} Calibrate with as many."
    )


def _span(conditions: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    a, b = own["span"], conditions["span"]
    if b / SLACK <= a <= b * SLACK:
        return ""
    return f"The observations span a time of {a:g}, those of the calibration {b:g}: {_effect(a < b)} Calibrate with as long ones."


def _noise(residuals: Tensor, loss: Tensor) -> str:
    low, high = float(residuals.min()) / NOISE**2, float(residuals.max()) * NOISE**2
    off = [e for e, v in enumerate(loss.tolist()) if not low <= v <= high]
    if not off:
        return ""
    e = off[0]
    others = f" (and {len(off) - 1} others)" if len(off) > 1 else ""
    return (
        f"Environment {e}{others} keeps residuals of {float(loss[e]) ** 0.5:.3g} (root mean square), those of the calibration "
        f"kept {float(residuals.min()) ** 0.5:.3g} to {float(residuals.max()) ** 0.5:.3g}: its observations are "
        f"{'more' if float(loss[e]) > high else 'less'} noisy, or the model explains them "
        f"{'worse' if float(loss[e]) > high else 'better'}. {_effect(float(loss[e]) > high).capitalize()} Calibrate at this noise."
    )


def _effect(narrow: bool) -> str:
    return "bands may be too narrow." if narrow else "bands may be too wide."
