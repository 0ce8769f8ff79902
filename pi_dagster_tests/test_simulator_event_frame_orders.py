from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import requests

from pi_dagster.simulator.events import iso_timestamp
from pi_dagster_tests.planted_archive import HOUR, NOON
from pi_dagster_tests.planted_event_frames import Plant, planted_frames


@pytest.fixture
def plant() -> Iterator[Plant]:
    with planted_frames(admin=True) as planted:
        yield planted


def order(plant: Plant, action: str, **said: Any) -> requests.Response:
    return requests.post(f"{plant.running.admin_url}/event-frames", json={"action": action, **said}, timeout=10)


def done(plant: Plant, action: str, **said: Any) -> str:
    answer = order(plant, action, **said)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def listed(plant: Plant) -> dict[str, Any]:
    found = plant.json(f"{plant.database_path}/eventframes", searchFullHierarchy="true", startTime="*-30d")["Items"]
    return {item["Id"]: item for item in found}


def test_a_frame_lives_through_the_admin_door(plant: Plant) -> None:
    pump, comment = r"\\AFSIM\Plant\Pump 1", {"Comment": "dry"}
    opened = {"template": "Downtime", "elements": [pump], "attributes": comment, "start": "*-1h"}
    frame = done(plant, "open", name="Stop", **opened)
    child = done(plant, "open", name="Part", parent=frame)
    item = listed(plant)[frame]
    assert (item["StartTime"], item["EndTime"][:4]) == (iso_timestamp(NOON - HOUR), "9999")
    assert (item["HasChildren"], len(item["RefElementWebIds"])) == (True, 1)
    assert listed(plant)[child]["StartTime"] == iso_timestamp(NOON)
    assert done(plant, "close", id=frame, attributes={"Comment": "wet"}) == frame
    done(plant, "acknowledge", id=frame, by="shift")
    done(plant, "annotate", id=frame, text="checked")
    done(plant, "edit", id=frame, severity="Critical", start="*-3d", elements=[r"\\AFSIM\Plant\Valve 1"])
    item = listed(plant)[frame]
    assert (item["EndTime"], item["AcknowledgedBy"], item["IsAnnotated"]) == (iso_timestamp(NOON), "shift", True)
    assert (item["Severity"], item["StartTime"]) == ("Critical", iso_timestamp(NOON - 72 * HOUR))
    done(plant, "edit", id=frame, end=None)
    assert listed(plant)[frame]["EndTime"][:4] == "9999"
    done(plant, "delete", id=frame)
    assert listed(plant) == {}


@pytest.mark.parametrize(
    ("action", "said", "message"),
    [
        ("explode", {}, "open, close"),
        ("open", {}, "lacks something"),
        ("open", {"name": "A", "template": "Nope"}, "Nope"),
        ("open", {"name": "A", "database": "Nope"}, "not there"),
        ("open", {"name": "A", "elements": [r"\\AFSIM\Plant\Nope"]}, "no element"),
        ("open", {"name": "A", "severity": "Terrible"}, "no severity"),
        ("open", {"name": "A", "start": "noonish"}, "noonish"),
        ("close", {"id": "1"}, "UUID"),
        ("delete", {"id": str(uuid4())}, "not there"),
        ("edit", {"id": str(uuid4()), "colour": "red"}, "colour"),
    ],
)
def test_the_door_answers_mistakes_in_words(plant: Plant, action: str, said: dict[str, Any], message: str) -> None:
    answer = order(plant, action, **said)
    assert answer.status_code == 400
    assert message in answer.json()["Errors"][0]
