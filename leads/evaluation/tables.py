"""One table, many forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from leads.errors import ShapeError

if TYPE_CHECKING:
    import rich.table


@dataclass(frozen=True)
class Table:
    """Columns and rows of text."""

    columns: list[str]
    rows: list[list[str]]
    title: str = ""

    def __post_init__(self) -> None:
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ShapeError(
                    f"Row {i} of the table has {len(row)} cells, the table has {len(self.columns)} columns."
                )

    def text(self) -> str:
        """Aligned plain text."""
        widths = [max(len(r[i]) for r in [self.columns, *self.rows]) for i in range(len(self.columns))]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in [self.columns, *self.rows]
        ]
        return "\n".join(lines)

    def markdown(self) -> str:
        """A GitHub table."""
        line = lambda cells: "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"  # noqa: E731
        return "\n".join([line(self.columns), "|" + "---|" * len(self.columns), *map(line, self.rows)])

    def latex(self) -> str:
        """A booktabs tabular."""
        line = lambda cells: " & ".join(map(_escape, cells)) + r" \\"  # noqa: E731
        head = [r"\begin{tabular}{" + "l" * len(self.columns) + "}", r"\toprule", line(self.columns), r"\midrule"]
        return "\n".join([*head, *map(line, self.rows), r"\bottomrule", r"\end{tabular}"])

    def rich(self) -> rich.table.Table:
        """For the terminal."""
        from rich.table import Table as RichTable

        table = RichTable(*self.columns, title=self.title or None)
        for row in self.rows:
            table.add_row(*row)
        return table


def _escape(cell: str) -> str:
    for a, b in (("\\", r"\textbackslash "), ("&", r"\&"), ("%", r"\%"), ("_", r"\_"), ("#", r"\#"), ("±", r"$\pm$")):
        cell = cell.replace(a, b)
    return cell
