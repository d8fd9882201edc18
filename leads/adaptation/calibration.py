"""What was learned on held-out environments: how wide bands must be, and what is out of the ordinary."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leads.adaptation.conditions import differences
from leads.adaptation.conformal import refuse_too_few
from leads.adaptation.limits import Check, Region, joint_p_values, warn_limits
from leads.adaptation.posterior import Bands, Method, check_level, interval
from leads.dynamics import DecomposedDynamics
from leads.errors import CheckpointError, SettingsError
from leads.training.files import read_tensors, write_tensors

if TYPE_CHECKING:
    from leads.adaptation.adapted import Adapted
    from leads.adaptation.ensembles import AdaptedEnsemble

#: Levels whose quantiles are kept; one in between is rounded up.
LEVELS = torch.tensor([*(k / 200 for k in range(1, 200)), 0.999], dtype=torch.float64)
#: False alarms, where nothing else is said.
RATE = 0.05
TENSORS = ("levels", "scales", "lead_times", "distances", "residuals")


@dataclass(frozen=True)
class Calibration:
    """Made by :func:`leads.calibrate`; give it to ``adapted.bands(..., calibration=calibration)``.

    Attributes:
        model: hash of the recipe and the weights that it was made for.
        method, noise, draws, seed: how the bands were made.
        levels: shape ``(L,)``.
        scales: half width of a band in standard deviations, ``(L, T', C')``; T' or C' is 1 where all share it.
        lead_times: times since the start of a forecast, ``(T',)``.
        environments: number K of held-out environments.
        distances, residuals: scores of the held-out environments, ``(K,)``; NaN distances where there is no context.
        regions: where the seen contexts lie: one for a model, one each for an ensemble's members; empty without context.
        conditions: what the held-out environments were adapted to (:mod:`leads.adaptation.conditions`); empty in files
            that were written before there were any.
    """

    model: str
    method: Method
    noise: bool
    draws: int
    seed: int
    levels: Tensor
    scales: Tensor
    lead_times: Tensor
    environments: int
    distances: Tensor
    residuals: Tensor
    regions: tuple[Region, ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)

    def scale(self, level: float, leads: Tensor) -> Tensor:
        """Half width in standard deviations, ``(T, C')``, at times since the start of a forecast ``(T,)``.

        Each time takes the next calibrated one; the level is rounded up to the next kept one (steps of 0.005).

        Raises:
            SettingsError: a level that is none, or that needs more environments; the number is named.
        """
        place = int(torch.searchsorted(self.levels, torch.tensor(check_level(level) - 1e-9, dtype=torch.float64)))
        if place == len(self.levels):
            raise SettingsError(f"Calibrated bands go up to the level {float(self.levels[-1]):g}, got {level:g}.")
        refuse_too_few(float(self.levels[place]), self.environments)
        table = self.scales[place]
        end = float(self.lead_times[-1])
        if float(leads[-1]) > end * (1 + 1e-9):
            warn_limits(
                f"The forecast runs for {float(leads[-1]):g}, the bands were calibrated up to {end:g}: beyond it they keep "
                "the last scale and may be too narrow. Calibrate with longer truth."
            )
        if len(table) == 1:
            return table.expand(len(leads), -1)
        slack = 1e-9 * max(end, 1e-30)
        rows = torch.searchsorted(self.lead_times, leads.double() - slack).clamp_max(len(table) - 1)
        return table[rows]

    def bands(self, adapted: Adapted | AdaptedEnsemble, x0: Tensor, times: Tensor, level: float) -> Bands:
        """Calibrated bands; see :meth:`leads.Adapted.bands`. A :class:`leads.errors.LimitsWarning` where an environment
        alarms, or was adapted under other conditions than those that were calibrated with."""
        if self.resolves(RATE):
            self.check(adapted, RATE)
        else:
            self.refuse_others(adapted)
        for sentence in self.differences(adapted):
            warn_limits(sentence)
        mean, deviation = adapted.moments(x0, times, self.method, self.noise, self.draws, self.seed)
        return self.widen(mean, deviation, times, level).to(adapted.like())

    def widen(self, mean: Tensor, deviation: Tensor, times: Tensor, level: float) -> Bands:
        """Calibrated bands from uncalibrated moments ``(E, N, T, C, *X)`` of the same method, at ``times`` ``(T,)``."""
        scale = self.scale(level, times - times[0]).to(mean)
        scale = torch.cat([torch.zeros_like(scale[:1]), scale[1:]])  # the first frame is given
        return interval(mean, deviation, level, scale.reshape(*scale.shape, *(1,) * (mean.ndim - 4)), True)

    def check(self, adapted: Adapted | AdaptedEnsemble, rate: float = RATE, warn: bool = True) -> Check:
        """Whether environments look like the held-out ones, by distance of the context and by residual.

        Args:
            adapted: adapted with the support sizes that the calibration was made with.
            rate: probability of an alarm in an environment of the seen range.
            warn: issue a :class:`leads.errors.LimitsWarning` where one alarms.

        Raises:
            SettingsError: another model, or a rate that the number of held-out environments cannot resolve.
        """
        self.refuse_others(adapted)
        if not 0 < rate < 1:
            raise SettingsError(f"rate is the probability of a false alarm, between 0 and 1; got {rate!r}.")
        ordinary = len(self.residuals)
        if not self.resolves(rate):
            raise SettingsError(self.too_few(rate))
        distance, residual = outlyingness(adapted, self.regions)
        held_out, new = (torch.stack(pair, 1) for pair in ((self.distances, self.residuals), (distance, residual)))
        used = ~torch.isnan(held_out).all(0)
        p = joint_p_values(held_out[:, used], new[:, used])
        rank = lambda known, x: (known >= x[:, None]).double().mean(1)  # noqa: E731
        far, unexplained = rank(self.distances, distance), rank(self.residuals, residual)
        far = far if self.regions else torch.ones_like(far)
        check = Check(p, distance, residual, far, unexplained, p <= rate + 1e-12, rate, ordinary)
        if warn and bool(check.alarm.any()):
            found = check.sentences()
            more = f" ({len(found) - 1} more environments alarm.)" if len(found) > 1 else ""
            warn_limits(found[0] + more)
        return check

    def resolves(self, rate: float) -> bool:
        """Whether there are enough held-out environments for alarms at this false-alarm rate: ``1 / rate - 1``."""
        return rate * (len(self.residuals) + 1) >= 1 - 1e-9

    def too_few(self, rate: float) -> str:
        """What to say where :meth:`resolves` does not hold."""
        return (
            f"Alarms at a false-alarm rate of {rate:g} need at least {math.ceil(1 / rate - 1e-9) - 1} held-out "
            f"environments, the calibration has {len(self.residuals)} for it: none could ever alarm."
        )

    def differences(self, adapted: Adapted | AdaptedEnsemble) -> list[str]:
        """How environments were adapted otherwise than the held-out ones: another number of trajectories or of observed
        values, another span of time, other noise, first states given or not; one sentence each."""
        return differences(self.conditions, self.residuals, adapted)

    def refuse_others(self, adapted: Adapted | AdaptedEnsemble) -> None:
        """Raise :class:`SettingsError` unless the model is the one that was calibrated, bit for bit."""
        own = adapted.fingerprint()
        if own != self.model:
            raise SettingsError(
                f"This calibration belongs to another model (weights {self.model[:8]}, these are {own[:8]}). Calibrate "
                "this one: leads.calibrate(model, support, truth)."
            )

    def save(self, path: str | Path) -> None:
        """Save to one safe file, whole or not at all."""
        write_tensors(path, self.tensors(), self.description(), "calibration")

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Load what :meth:`save` wrote.

        Raises:
            CheckpointError: a file that is missing, truncated, or holds something else.
        """
        tensors, description = read_tensors(path, "calibration")
        return cls.restore(tensors, description, path)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, for files."""
        own = {name: getattr(self, name) for name in TENSORS}
        for i, region in enumerate(self.regions):
            parts = {k: v for k, v in vars(region).items() if v is not None}
            own |= {f"region.{i}.{k}": v for k, v in parts.items()}
        return own

    def description(self) -> dict[str, Any]:
        """All else, for the header of a file."""
        names = ("model", "method", "noise", "draws", "seed", "environments")
        own = {n: getattr(self, n) for n in names}
        return own | {"regions": len(self.regions), "conditions": dict(self.conditions)}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], description: Mapping[str, Any], path: str | Path) -> Calibration:
        """From :meth:`tensors` and :meth:`description`."""
        try:
            values: dict[str, Any] = {
                n: description[n] for n in ("model", "method", "noise", "draws", "seed", "environments")
            }
            regions = []
            for i in range(description["regions"]):
                prefix = f"region.{i}."
                regions.append(Region(**{k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}))
            values |= {n: tensors[n] for n in TENSORS}
            return cls(**values, regions=tuple(regions), conditions=description.get("conditions", {}))
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"The calibration in {path} cannot be read: {error}.") from error


def outlyingness(adapted: Adapted | AdaptedEnsemble, regions: Sequence[Region]) -> tuple[Tensor, Tensor]:
    """Distance of the context (NaN without regions) and mean square error on the support, ``(E,)`` each; the mean over
    an ensemble's members."""
    residual = torch.stack([m.support_loss() for m in adapted.members]).mean(0)
    distances = [r.distance(*m.posterior()) for r, m in zip(regions, adapted.members, strict=False)]
    return torch.stack(distances).mean(0) if distances else torch.full_like(residual, torch.nan), residual


def fingerprint(model: DecomposedDynamics) -> str:
    """SHA-256 of a model's recipe and weights, whatever device or wider dtype it was moved to."""
    digest = hashlib.sha256(json.dumps(model.recipe, sort_keys=True, default=str).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        plain = torch.view_as_real(value) if value.is_complex() else value
        digest.update(plain.detach().cpu().double().contiguous().numpy().tobytes())
    return digest.hexdigest()
