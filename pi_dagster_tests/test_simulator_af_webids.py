from __future__ import annotations

from uuid import UUID

import pytest

from pi_dagster.simulator.af_webids import write_web_id
from pi_dagster.webid import WebId, WebIdType, object_webid, point_webid

SERVER, ONE, TWO = (UUID(int=number * 0x1234567890ABCDEF1234567) for number in (1, 2, 3))
PATH = r"\\AFSIM\Kühlhaus ß\[Pump | 1]"


@pytest.mark.parametrize("form", list(WebIdType))
@pytest.mark.parametrize(
    ("marker", "owner", "ids"),
    [
        ("RS", "", ()),
        ("RD", "", (ONE,)),
        ("Em", "", (ONE,)),
        ("Ab", "E", (ONE, TWO)),
        ("Ab", "F", (ONE, TWO)),
        ("MS", "R", (ONE,)),
    ],
)
def test_webids_are_written_as_the_codec_writes_them(
    form: WebIdType, marker: str, owner: str, ids: tuple[UUID, ...]
) -> None:
    expected = object_webid(marker, (SERVER, *ids), PATH, owner or None).as_type(form).encode()
    assert write_web_id(form, marker + owner, (SERVER, *ids), PATH) == expected


@pytest.mark.parametrize("form", list(WebIdType))
def test_webids_of_tags_are_written_as_the_codec_writes_them(form: WebIdType) -> None:
    expected = point_webid(SERVER, 70_000, "PISIM", "Ünit 1/100% & +#?").as_type(form).encode()
    assert write_web_id(form, "DP", (SERVER, 70_000), r"\\PISIM\Ünit 1/100% & +#?") == expected
    assert WebId.parse(expected).type is form
