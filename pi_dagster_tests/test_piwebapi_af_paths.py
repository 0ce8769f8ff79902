"""Paths of AF taken apart, with names that hold what separates paths."""

from __future__ import annotations

import pytest

from pi_dagster.piwebapi.af_paths import element_path, parent_path, quoted_name, split_path

GUID = "3818e27b-dfb4-11ef-88a0-6045bd94f59b"


@pytest.mark.parametrize(
    ("path", "elements", "attributes"),
    [
        (r"\\AF\DB", (), ()),
        (r"\\AF\DB\A", ("A",), ()),
        (r"\\AF\DB\A\B 2|Flow|High", ("A", "B 2"), ("Flow", "High")),
        (r"\\AF\DB\[A|B]\C", ("A|B", "C"), ()),
        (r"\\AF\DB\[x\y]|[p|q]|r", ("x\\y",), ("p|q", "r")),
        (r"\\AF\DB\[a]b]\c", ("a]b", "c"), ()),
        (rf"\\AF\DB\[Pump;{GUID}]\c", ("Pump", "c"), ()),
        (r"\\AF\DB\[a;b]", ("a;b",), ()),
        (r"\\AF\[D|B]\A", ("A",), ()),
        (r"\\AF\DB\Süd\ポンプ|ß", ("Süd", "ポンプ"), ("ß",)),
    ],
)
def test_a_path_is_split_into_names(path: str, elements: tuple[str, ...], attributes: tuple[str, ...]) -> None:
    assert split_path(path) == (elements, attributes)


def test_paths_of_the_tables_begin_below_the_database() -> None:
    assert element_path(r"\\AF\DB\Enterprise\Site1\[Pump|1]") == "/Enterprise/Site1/Pump|1"


@pytest.mark.parametrize(
    ("path", "parent"),
    [
        (r"\\AF\DB\A\B", r"\\AF\DB\A"),
        (r"\\AF\DB\[A\x]\[B|y]", r"\\AF\DB\[A\x]"),
        (r"\\AF\DB\A", r"\\AF\DB"),
    ],
)
def test_the_parent_of_a_path_lacks_its_last_step(path: str, parent: str) -> None:
    assert parent_path(path) == parent


@pytest.mark.parametrize("name", ["plain", "a|b", "x\\y", "[z]", "a]b", "50%; more", "it's", "q?*{}"])
def test_a_quoted_name_reads_back_as_it_was(name: str) -> None:
    assert split_path(rf"\\AF\DB\{quoted_name(name)}\end")[0] == (name, "end")
