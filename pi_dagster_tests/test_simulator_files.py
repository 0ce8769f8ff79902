from __future__ import annotations

import csv
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.events import MAX_TICKS, to_ticks
from pi_dagster.simulator.files import SENSORS, SkabBase, UnreadableFolderError

SKAB = Path(__file__).parents[2] / "shared" / "data" / "skab"
HEADER = ";".join(["datetime", *SENSORS, "anomaly"])


def write(path: Path, *rows: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([HEADER, *rows]) + "\n")


def row(stamp: str, value: float) -> str:
    return ";".join([stamp, *[str(value)] * len(SENSORS), "0.0"])


@pytest.mark.skipif(not SKAB.is_dir(), reason=f"the SKAB data is not at {SKAB}")
def test_every_value_of_every_skab_file_is_an_event() -> None:
    expected: dict[str, list[tuple[int, float]]] = {name: [] for name in SENSORS}
    for path in sorted(SKAB.glob("*/*.csv")):
        with path.open() as file:
            for line in csv.DictReader(file, delimiter=";"):
                stamp = datetime.strptime(line["datetime"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
                for name in SENSORS:
                    expected[name].append((to_ticks(stamp), float(line[name])))
    archive = Archive(SkabBase(SKAB))
    assert [point.name for point in archive.points()] == list(SENSORS)
    for point in archive.points():
        events = archive.events(point, 0, MAX_TICKS)
        read = list(zip(events.ticks.tolist(), events.values.tolist(), strict=True))
        assert read == sorted(expected[point.name], key=lambda event: event[0])
        assert not events.flags.any()


def test_rows_of_overlapping_files_are_all_kept_in_the_order_of_the_paths(tmp_path: Path) -> None:
    for number in (5, 2, 8, 1, 7, 3, 6, 4):
        write(tmp_path / f"valve{number}" / "0.csv", row("2020-03-09 10:00:01", number))
    base = SkabBase(tmp_path)
    for point in base.points():
        assert base.events(point, 0, MAX_TICKS).values.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_span_runs_from_the_first_row_to_the_last(tmp_path: Path) -> None:
    write(tmp_path / "other" / "1.csv", row("2020-03-09 10:00:05", 1), row("2020-03-09 10:00:01", 2))
    first = to_ticks(datetime(2020, 3, 9, 10, 0, 1, tzinfo=timezone.utc))
    assert SkabBase(tmp_path).span() == (first, first + 40_000_000)


def test_a_folder_without_files_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFolderError, match=str(tmp_path)):
        SkabBase(tmp_path)


def test_files_without_rows_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "other" / "1.csv")
    with pytest.raises(UnreadableFolderError, match="no rows"):
        SkabBase(tmp_path)


@pytest.mark.parametrize("body", ["a;b\n1;2\n", f"{HEADER}\n{row('yesterday', 1)}\n", f"{HEADER}\n1;2\n", ""])
def test_a_file_of_another_layout_is_refused_by_name(tmp_path: Path, body: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "1.csv").write_text(body)
    with pytest.raises(UnreadableFolderError, match=r"1\.csv"):
        SkabBase(tmp_path)
