"""One self-contained HTML page that shows what a run, or several seeds of it, achieved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leads.adaptation import Adapted
from leads.errors import SettingsError
from leads.evaluation import figures
from leads.evaluation.protocols import Evaluation, aggregate
from leads.evaluation.published import published
from leads.evaluation.story import adaptation_story
from leads.evaluation.tables import Table
from leads.trajectories import Trajectories
from leads.trajectories.cache import write_whole
from leads.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class RunReport:
    """What the report needs of one experiment (one or more seeds of the same settings).

    Attributes:
        title, family, split, algorithm: names.
        in_domain, adaptation: evaluations, one per seed.
        histories: training histories, one per seed.
        seen, new: the first seed's forecasters, for the figures.
        test, adapt_test: the data they are drawn against.
        seconds: training time of each seed.
        provenance: settings, seeds, device, date, versions, command.
        more: further figures of the adaptation section, made elsewhere (coverage, reliability ...): caption, whether it
            needs the whole width, figure.
        left_out: what could not be shown, and why.
    """

    title: str
    family: str
    split: str
    algorithm: str
    in_domain: Sequence[Evaluation]
    adaptation: Sequence[Evaluation]
    histories: Sequence[Sequence[dict[str, Any]]]
    seen: Adapted
    new: Adapted
    test: Trajectories
    adapt_test: Trajectories
    seconds: Sequence[float] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    more: Sequence[tuple[str, bool, Figure]] = ()
    left_out: Sequence[str] = ()

    def headline(self) -> Table:
        """Our errors, mean and spread over seeds, with the verified published ones below, best first."""
        metrics = ["mse", "relative_l2"]
        ours, theirs = aggregate(self.in_domain)["all"], aggregate(self.adaptation)["all"]
        kind = str(self.test.attributes.get("fidelity", "own"))
        rows = [[f"leads: {self.algorithm}", m, f"{ours[m]}", f"{theirs[m]}", f"{kind} data"] for m in metrics]
        rows += self._published()
        return Table(["method", "metric", "in-domain", "adaptation", "source"], rows, self.title)

    def _published(self) -> list[list[str]]:
        cells: dict[tuple[str, str, str], dict[str, str]] = {}
        for p in published(self.family, self.split):
            text = f"{p.mean:.2e}" + (f" ± {p.spread:.1e}" if p.spread is not None else "")
            cells.setdefault((p.method, p.metric, p.source), {})[p.protocol] = text
        return [
            [method, metric, by.get("in-domain", "-"), by.get("adaptation", "-"), f"published: {source}"]
            for (method, metric, source), by in cells.items()
        ]

    def environments(self) -> Table:
        """Errors of the first seed, one row per environment."""
        names = list(self.in_domain[0].per_environment["all"])
        rows = []
        for label, run, data in (
            ("seen", self.in_domain[0], self.test),
            ("unseen", self.adaptation[0], self.adapt_test),
        ):
            for e in range(data.n_environments):
                scores = [f"{run.per_environment['all'][n][e]:.2e}" for n in names]
                rows.append([label, figures._label(data, e), *scores])
        return Table(["environments", "parameters", *names], rows)

    def figures(self) -> list[tuple[str, bool, Figure]]:
        """Caption, whether it needs the whole width, figure."""
        history = self.seen.model.history
        kept = slice(history - 1, None)
        test, adapt_test = self.test.select(frames=kept), self.adapt_test.select(frames=kept)
        seen = self.seen.forecast(self.test.first(history), test.times).cpu()
        new = self.new.forecast(self.adapt_test.first(history), adapt_test.times).cpu()
        made: list[tuple[str, bool, Figure]] = []
        space = self.test.states.ndim - 4
        if space == 0:
            text = "Forecasts in environments never seen, each adapted from its support trajectory: lines; truth: dots."
            made.append((text, True, figures.trajectories(new, adapt_test)))
            made.append(("Forecasts in seen environments.", True, figures.trajectories(seen, test)))
        if space == 2:
            for e in range(min(2, self.adapt_test.n_environments)):
                text = "An environment never seen: truth, forecast and their difference."
                made.append((text, True, figures.fields(new, adapt_test, e, channel=self.test.states.shape[3] - 1)))
        made.append(
            (
                "Training: loss and validation loss; dashed where the horizon grows.",
                False,
                figures.training_curves(self.histories),
            )
        )
        curves = {"in-domain": self.in_domain, "adaptation": self.adaptation}
        made.append(("Error against forecast time.", False, figures.error_in_time(curves)))
        if (
            self.seen.contexts
            and self.seen.parameters is not None
            and figures.flatten(self.seen.contexts).shape[1] <= 64
        ):
            spread = self.seen.parameters.std(0)
            for i in [i for i in range(len(spread)) if float(spread[i]) > 0][:2]:
                name = self.test.parameter_specs[i].name if self.test.parameter_specs else f"parameter {i}"
                told = getattr(self.seen.model.source, "label", ())
                known = f"; the encoder was told: {', '.join(told)}." if told else ", which the model never saw."
                text = f"Learned contexts, coloured by the true {name}{known}"
                made.append((text, False, figures.context_plane(self.seen, self.new, i, name)))
        return made


def write_report(
    runs: Sequence[RunReport], path: str | Path, title: str = "leads report", adaptation: float = 30.0
) -> Path:
    """Write the page, whole or not at all.

    Args:
        runs: what to show, a section each.
        path: of the page.
        title: its heading.
        adaptation: seconds that each run's figures of adaptation may take to make, see
            :func:`leads.evaluation.story.adaptation_story`; 0 leaves them out.

    Raises:
        SettingsError: no runs.
        FileError: the file could not be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    if not runs:
        raise SettingsError("A report needs at least one run.")
    template = Environment(
        loader=PackageLoader("leads.evaluation", "."), autoescape=True, undefined=StrictUndefined
    ).get_template("report.html.j2")
    page = template.render(
        title=title, subtitle=_subtitle(runs), version=__version__, runs=[_section(r, adaptation) for r in runs]
    )
    write_whole(Path(path), page.encode())
    return Path(path)


def _section(run: RunReport, adaptation: float) -> dict[str, Any]:
    story = adaptation_story(run.seen, run.new, run.adapt_test, adaptation)
    info = run.new.info
    took = f"Adapting {run.adapt_test.n_environments} unseen environments took {info['seconds']:.2f} s ({info['solver']}). " if info.get("seconds") else ""  # fmt: skip
    trained = f"Training took {sum(run.seconds) / len(run.seconds):.0f} s a seed. " if run.seconds else ""
    seeds = len(run.in_domain)
    return {
        "title": run.title,
        "summary": f"{trained}{took}{seeds} seed{'s' if seeds > 1 else ''}.",
        "headline": run.headline(),
        "note": "Mean ± sample standard deviation over seeds. Weights were chosen on validation trajectories of seen "
        "environments; published errors are on data of published fidelity, whose labels carry an error of their own.",
        "figures": _images(run.figures()),
        "adaptation": _images([*story.figures, *run.more]),
        "left_out": [*story.notes, *run.left_out],
        "environments": run.environments(),
        "provenance": json.dumps(run.provenance, indent=1, default=str),
    }


def _images(drawn: Sequence[tuple[str, bool, Figure]]) -> list[dict[str, Any]]:
    return [{"caption": c, "wide": w, "image": figures.to_base64(f)} for c, w, f in drawn]


def _subtitle(runs: Sequence[RunReport]) -> str:
    return "Dynamics learned across environments, then adapted to environments never seen: " + "; ".join(
        f"{r.algorithm} on {r.family} ({r.split} split)" for r in runs
    )
