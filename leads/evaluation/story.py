"""The adaptation section of the report: figures that adapt again, as many as a budget of time allows."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from leads.adaptation import Adapted, AdaptSettings, ParameterMap, adapt, parameter_sensitivity
from leads.adaptation.tangents import free_contexts
from leads.contexts.flat import size
from leads.environments import EnvironmentFamily, make
from leads.errors import LeadsError
from leads.evaluation import meaning
from leads.evaluation.adaptation_curves import error_against_observations, error_against_time
from leads.evaluation.plane import error_over_plane
from leads.trajectories import Trajectories, simulate
from leads.trajectories.generate import SEEDS, draw_states

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Caption, whether it needs the whole width, figure.
Drawn = tuple[str, bool, "Figure"]
#: Contexts up to this size have Jacobians.
SMALL = 64
#: Trajectories of an environment that the curve of observations ends with.
MOST = 5


@dataclass
class Story:
    """What was drawn, and what was left out and why."""

    figures: list[Drawn] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, cost: float, left: float, draw: Callable[[], list[Drawn]]) -> None:
        """Draw if the cost fits what is left of the budget, both in seconds; else note why not."""
        if cost > left:
            self.notes.append(f"{what}: it would take about {cost:.0f} s, {max(left, 0):.0f} s are left for it")
            return
        try:
            self.figures += draw()
        except LeadsError as error:
            self.notes.append(f"{what}: {error}")


def family_of(data: Trajectories) -> EnvironmentFamily | None:
    """The family that data were generated from, made again; ``None`` where their attributes do not tell."""
    name, arguments = data.attributes.get("family"), data.attributes.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, str):
        return None
    try:
        return make(name, **json.loads(arguments))
    except (LeadsError, ValueError):
        return None


def adaptation_story(seen: Adapted, new: Adapted, adapt_test: Trajectories, budget: float = 30.0) -> Story:
    """Figures of few-shot adaptation.

    Error against the number of observations; the loss against the time each solver takes; the error over the plane of
    two parameters; true parameters against those read off the contexts, and the forecast's sensitivity to them. Each is
    drawn where its cost, judged by the time that adaptations took, fits what is left of the budget.

    Args:
        seen: the training environments, with their true parameters.
        new: environments adapted to.
        adapt_test: test trajectories of those; where their attributes name the family, more support is simulated.
        budget: seconds on this machine; 0 draws nothing.
    """
    story, began = Story(), time.perf_counter()
    family, free = family_of(adapt_test), free_contexts(new.model, new.contexts)
    if budget <= 0 or not free:
        return story
    if family is None or new.parameters is None:
        story.notes.append("curves and maps of adaptation: the data do not name the family to simulate support from")
        return story
    left = lambda: budget - (time.perf_counter() - began)  # noqa: E731
    count = size(free)
    support = _support(family, new, adapt_test)
    one = support.select(trajectories=[0])
    took = float(new.info.get("seconds", 0.0))
    if count <= SMALL:
        once = took / (1 + int(new.info.get("iterations", 0)))
        story.add("parameters from contexts", 3.0 + once, left(), lambda: _meaning(seen, new, one))
    if took > 0.25 * left():
        story.notes.append(
            f"curves and maps of adaptation: a single one takes {took:.0f} s, {left():.0f} s are left for all"
        )
        return story
    step = _seconds(lambda: adapt(new.model, one, solver="gradient", steps=1))
    steps = int(min(300, 0.25 * budget / max(step, 1e-6)))
    whole = _whole(new, one, count, step)
    settings: dict[str, dict[str, Any]] = {"levenberg_marquardt": {}} if count <= SMALL else {}
    story.add(
        "error against observations",
        8 * whole,
        left(),
        lambda: [(
            "Environments never seen: error of test forecasts against the frames that each was adapted to, of one "
            "trajectory and then of more. Thin: each environment.",
            False,
            error_against_observations(new.model, support, adapt_test).figure(),
        )],
    )  # fmt: skip
    story.add(
        "loss against time",
        whole + steps * step if steps >= 50 else 50 * step + whole,
        left(),
        lambda: [(
            f"Loss on one support trajectory against the time that each solver takes ({one.n_environments} environments "
            "side by side, on this machine).",
            False,
            error_against_time(new.model, one, {**settings, "gradient": {"steps": max(steps, 50)}}).figure(),
        )],
    )  # fmt: skip
    each = max(whole / one.n_environments, 1e-4)
    side = int(min(13, math.sqrt(max(left(), 0.0) / each)))
    story.add(
        "error over the parameter plane",
        each * max(side, 5) ** 2,
        left(),
        lambda: [(
            "Error of test forecasts after adaptation to one trajectory, over the plane of two parameters. The box is the "
            "range that was trained on.",
            False,
            error_over_plane(new.model, family, max(side, 5)).figure(),
        )],
    )  # fmt: skip
    return story


def _meaning(seen: Adapted, new: Adapted, support: Trajectories) -> list[Drawn]:
    specs = support.parameter_specs
    found = ParameterMap.from_adapted(seen, specs)
    estimate = found.predict(new)
    assert new.parameters is not None
    effects = parameter_sensitivity(new, support.first(new.model.history), support.times[new.model.history - 1 :], found, relative=True)  # fmt: skip
    data = support.select(frames=slice(new.model.history - 1, None))
    return [
        (
            f"True parameters of environments never seen, against those read off their contexts by a map ({found.kind}) "
            "fitted on the training environments; bars of two standard deviations.",
            True,
            meaning.recovered(estimate, new.parameters[:, found.columns]),
        ),
        (
            "What a change of each parameter does to a forecast, per relative change.",
            True,
            meaning.sensitivities(effects, data),
        ),
    ]


def _support(family: EnvironmentFamily, new: Adapted, adapt_test: Trajectories) -> Trajectories:
    """Support of the adapted environments, as their family's adaptation data but with more trajectories."""
    assert new.parameters is not None
    seed = int(adapt_test.attributes.get("seed", 0)) * 1_000_000
    x0 = draw_states(family.system, [SEEDS["adapt"](seed + k) for k in range(MOST)])
    return simulate(
        family.system,
        new.parameters.cpu().double(),
        x0,
        family.times,
        estimate_error=False,
        dtype=adapt_test.states.dtype,
    )


def _whole(new: Adapted, support: Trajectories, count: int, step: float) -> float:
    """Seconds of an adaptation, judged by one iteration or by one gradient step."""
    if count > SMALL and not new.model.source.complete:
        return AdaptSettings().steps * step
    # About ten iterations, of which one and its start are timed.
    iterations = 1 if new.model.source.complete else 5
    return iterations * _seconds(lambda: adapt(new.model, support, iterations=1, starts=1))


def _seconds(run: Callable[[], object]) -> float:
    """Of the second of two runs."""
    run()
    began = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began
