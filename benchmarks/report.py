"""The report: figures with their targets, for the terminal, as Markdown for the documentation, and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as ScreenTable

from benchmarks.machine import BUSY, Machine
from benchmarks.results import Row, Section

Sections = Mapping[str, Section]


def wide_screen() -> Console:
    """The terminal; where there is none, lines long enough for the tables."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def print_machine(machine: Machine, screen: Console) -> None:
    """Say what the figures are from, and warn where they are worth little."""
    screen.print(machine.describe())
    if machine.is_busy:
        screen.print(
            f"[bold red]Something else is running (load average {machine.load_average:.2f} > {BUSY}): "
            "trust no figure of this run."
        )


def print_section(section: Section, seconds: float, screen: Console) -> None:
    """Print what one benchmark found."""
    figures = ScreenTable(title=f"{section.title} ({seconds:.0f} s)", title_justify="left")
    for column in _HEADER:
        figures.add_column(column, overflow="fold", justify="right" if column in _NUMERIC else "left")
    for row in section.rows:
        figures.add_row(*_cells(row), style="red" if _verdict(row) == "NOT MET" else None)
    if section.rows:
        screen.print(figures)
    for table in section.tables:
        numbers = ScreenTable(title=table.title, title_justify="left")
        for index, column in enumerate(table.header):
            numbers.add_column(column, justify="right" if index else "left")
        for cells in table.rows:
            numbers.add_row(*cells)
        screen.print(numbers)
    for note in section.notes:
        screen.print(f"- {note}")
    screen.print()


def markdown(machine: Machine, sections: Sections) -> str:
    """The whole report, as `docs/performance.md` includes it."""
    lines = [machine.describe() + ".", ""]
    if machine.is_busy:
        lines += ["**Something else was running on the machine: trust no figure of this run.**", ""]
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    lines += [f"Versions: {packages}.", ""]
    for section in sections.values():
        lines += [f"### {section.title}", ""]
        if section.rows:
            lines += [*_markdown_table(_HEADER, [_cells(row) for row in section.rows]), ""]
        for table in section.tables:
            lines += [f"{table.title}:", "", *_markdown_table(table.header, table.rows), ""]
        lines += [*(f"- {note}" for note in section.notes), *([""] if section.notes else [])]
    return "\n".join(lines).rstrip() + "\n"


def as_json(machine: Machine, sections: Sections) -> str:
    """Everything, for programs."""
    document: dict[str, Any] = {"machine": asdict(machine), "benchmarks": {}}
    for name, section in sections.items():
        facts = asdict(section)
        for row, described in zip(section.rows, facts["rows"], strict=True):
            described["verdict"] = _verdict(row)
        document["benchmarks"][name] = facts
    return json.dumps(document, indent=2) + "\n"


def write(path: Path, text: str) -> None:
    """Write a report to a file, whose folder may be missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_markdown(path: Path, text: str, *, part: str) -> None:
    """Write a report to a file of its own, or between the marks of that part in a file that has some.

    Args:
        path: the file.
        text: the report.
        part: `begin PART` and `end PART`, in comments, are the marks.
    """
    begin, end = f"<!-- begin {part} -->", f"<!-- end {part} -->"
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if begin in page and end in page:
        text = f"{page[: page.index(begin)]}{begin}\n\n{text}\n{page[page.index(end) :]}"
    write(path, text)


_HEADER = ("figure", "median", "spread", "target", "", "measured")
_NUMERIC = ("median", "spread")


def _cells(row: Row) -> list[str]:
    figure = row.figure
    target = f"{row.target} {row.unit}" if row.target else ""
    spread = "" if figure.low == figure.high else f"{_number(figure.low)} to {_number(figure.high)}"
    return [row.what, f"{_number(figure.median)} {row.unit}", spread, target, _verdict(row), row.measured]


def _verdict(row: Row) -> str:
    if row.target is None:
        return ""
    return "met" if row.target.is_met(row.figure) else "NOT MET"


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _markdown_table(header: Any, rows: Any) -> list[str]:
    def line(cells: Any) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(header), line(["---"] * len(header)), *(line(cells) for cells in rows)]
