"""The end of a training run by L-BFGS: many digits where the data have no noise."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError
from leads.integrators import gradients_once
from leads.training.settings import TrainerSettings
from leads.trajectories import Trajectories
from leads.trajectories.segments import whole, windows

#: Iterations between validations.
ROUND = 50


def polished(
    model: DecomposedDynamics, train: Trajectories, settings: TrainerSettings
) -> Iterator[tuple[int, float, dict[str, Tensor]]]:
    """L-BFGS with a strong Wolfe line search on the training objective, all trajectories at once, in float64.

    Adam's noise leaves an error that falls slowly with its rate; a quasi-Newton method on the full objective goes on to
    the minimum. Multipliers of penalties are held.

    Args:
        model: where to begin; not changed.
        train: all training trajectories.
        settings: ``polish`` iterations on windows of ``polish_horizon`` frames (0: whole trajectories).

    Yields:
        After every 50 iterations their number so far, the data loss, and the weights.

    Raises:
        SettingsError: an objective that differs from one evaluation to the next, such as one with anchors drawn at random.
    """
    double = copy.deepcopy(model).double()
    data = train.to(dtype=torch.float64)
    horizon = settings.polish_horizon
    segments = windows(data, horizon, model.history) if horizon else whole(data, model.history)
    parameters = [p for p in double.parameters() if p.requires_grad]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=ROUND, history_size=ROUND, line_search_fn="strong_wolfe", tolerance_grad=0.0, tolerance_change=0.0
    )  # fmt: skip
    losses: list[float] = []

    def objective() -> Tensor:
        contexts = double.source.train_contexts(double, None, data, segments=segments)
        with gradients_once():
            loss = double.loss_per_environment(segments, contexts).mean()
        losses.append(float(loss.detach()))
        return loss + double.penalty(contexts, data) + double.source.penalty(data)

    first, again = objective().detach(), objective().detach()
    if not torch.equal(first, again):
        raise SettingsError(
            f"polish needs an objective that is the same at every evaluation; that of {type(model.source).__name__} is drawn "
            "anew each time. Set polish=0."
        )
    # The line search's own thresholds are absolute: a loss of 1e-8 would count as converged.
    scale = 1.0 / float(first.abs().clamp_min(1e-300))

    def closure() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        value = scale * objective()
        value.backward()
        return value

    for done in range(ROUND, settings.polish + ROUND, ROUND):
        optimizer.param_groups[0]["max_iter"] = min(ROUND, settings.polish - done + ROUND)
        optimizer.step(closure)
        if not all(bool(torch.isfinite(p).all()) for p in parameters):
            return
        yield min(done, settings.polish), losses[-1], {k: v.detach().clone() for k, v in double.state_dict().items()}
