"""The excerpt of the AF tree that people read."""

from __future__ import annotations

from pi_dagster.ingest.asset_tree import tree_excerpt


def row(name: str, parent: str | None = None, template: str | None = None) -> dict[str, str | None]:
    return {"element_id": name, "element_name": name, "parent_id": parent, "template_name": template}


def test_a_small_tree_is_shown_whole() -> None:
    rows = [row("Site"), row("Unit 1", "Site"), row("Pump", "Unit 1", "Pumps"), row("Unit 2", "Site")]
    assert tree_excerpt(rows).splitlines() == ["Site", "  Unit 1", "    Pump (Pumps)", "  Unit 2"]


def test_a_wide_tree_shows_a_few_of_each_level_and_counts_the_rest() -> None:
    rows = [row("Site"), *(row(f"Unit {number}", "Site") for number in range(100))]
    lines = tree_excerpt(rows).splitlines()
    assert lines[:3] == ["Site  + 94 more below", "  Unit 0", "  Unit 1"]
    assert len(lines) == 7


def test_a_forest_counts_the_roots_that_are_left_out() -> None:
    assert tree_excerpt([row(f"Site {number}") for number in range(50)]).splitlines()[-1] == "+ 44 more"


def test_a_large_tree_takes_no_more_lines_than_people_read() -> None:
    rows = [row(str(number), str((number - 1) // 3) if number else None) for number in range(5000)]
    assert len(tree_excerpt(rows).splitlines()) <= 41


def test_a_cycle_and_a_parent_that_is_filtered_out_do_not_matter() -> None:
    rows = [row("A", "gone"), row("B", "A"), row("C", "D"), row("D", "C")]
    assert tree_excerpt(rows).splitlines() == ["A", "  B"]
