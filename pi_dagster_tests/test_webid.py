"""The WebID codec against published WebIDs of real servers."""

from __future__ import annotations

from uuid import UUID

import pytest

from pi_dagster.webid import InvalidWebIdError, WebId, WebIdType, data_server_webid, object_webid, point_webid

PUBLISHED = {
    "F1DSBd9Ab83Z90SNSjy4JtD5fQVk0tVFMtUEk": (("6f40df05-d9cd-44f7-8d4a-3cb826d0f97d",), "VM-TS-PI"),
    "F1RDMyvy4jYfVEyvgGiLVLmYvAjR9OmSafhkGfF09iWIcaIwVk0tVFMtUElcVElNRVNFRVI": (
        ("e2f22b33-1f36-4c54-af80-688b54b998bc", "994e1f8d-9f26-4186-9f17-4f6258871a23"),
        r"VM-TS-PI\TIMESEER",
    ),
    "F1EmMyvy4jYfVEyvgGiLVLmYvAe-IYOLTf7xGIoGBFvZT1mwVk0tVFMtUElcVElNRVNFRVJcUkVBQ1RPUlM": (
        ("e2f22b33-1f36-4c54-af80-688b54b998bc", "3818e27b-dfb4-11ef-88a0-6045bd94f59b"),
        r"VM-TS-PI\TIMESEER\REACTORS",
    ),
    "F1DPWH50K8QNs0mNNARckNKhJAAQAAAAREFUQV9BUkNISVZFXFNJTlVTT0lE": (
        ("2b747e58-0dc4-49b3-8d34-045c90d2a124", 1),
        r"DATA_ARCHIVE\SINUSOID",
    ),
    "I1DPWH50K8QNs0mNNARckNKhJAAQAAAA": (("2b747e58-0dc4-49b3-8d34-045c90d2a124", 1), None),
    "P1DPREFUQV9BUkNISVZFXFNJTlVTT0lE": ((), r"DATA_ARCHIVE\SINUSOID"),
    "I1DPrR1NjdPxEUOulNmps6aJqQFAEAAA": (("8d4d1dad-f1d3-4311-ae94-d9a9b3a689a9", 276), None),
}


@pytest.mark.parametrize("text", PUBLISHED)
def test_a_published_webid_decodes_to_its_ids_and_path(text: str) -> None:
    ids, path = PUBLISHED[text]
    web_id = WebId.parse(text)
    assert web_id.ids == tuple(UUID(item) if isinstance(item, str) else item for item in ids)
    assert web_id.path == path


@pytest.mark.parametrize("text", PUBLISHED)
def test_a_published_webid_is_written_back_letter_by_letter(text: str) -> None:
    assert WebId.parse(text).encode() == text


def test_an_attribute_webid_holds_its_owner() -> None:
    web_id = WebId.parse(
        "F1AbEIRAQC7zjPUOfBqai218IAwifUOTEAv5xGAzgANOhDHzg4VRBlNqet1wMQswtjrtN2AUElTUlYxXEZPUkVDQVNUU1xDREYxNDR8UkFXREFUQQ"
    )
    assert web_id.owner_marker == "E"
    assert web_id.ids[1] == UUID("4c0ef589-2f40-11e7-80ce-000d3a10c7ce")
    assert web_id.path == r"PISRV1\FORECASTS\CDF144|RAWDATA"


POINT = point_webid(UUID("2b747e58-0dc4-49b3-8d34-045c90d2a124"), 1, "data_archive", "sinusoid")


@pytest.mark.parametrize("web_id_type", WebIdType)
def test_every_form_survives_a_round_trip(web_id_type: WebIdType) -> None:
    form = POINT.as_type(web_id_type)
    assert WebId.parse(form.encode()) == form
    assert form.encode().startswith(form.type.value[0])


def test_the_identity_does_not_change_when_a_tag_is_renamed() -> None:
    renamed = point_webid(POINT.ids[0], 1, "data_archive", "sinusoid-2")  # type: ignore[arg-type]
    assert renamed.encode() != POINT.encode()
    assert renamed.identity == POINT.identity == "I1DPWH50K8QNs0mNNARckNKhJAAQAAAA"


def test_a_path_only_webid_has_no_identity() -> None:
    with pytest.raises(ValueError, match="holds no ids"):
        _ = POINT.as_type(WebIdType.PATH_ONLY).identity


def test_builders_write_what_real_servers_write() -> None:
    server = data_server_webid(UUID("6f40df05-d9cd-44f7-8d4a-3cb826d0f97d"), "vm-ts-pi")
    element = object_webid(
        "Em",
        (UUID("e2f22b33-1f36-4c54-af80-688b54b998bc"), UUID("3818e27b-dfb4-11ef-88a0-6045bd94f59b")),
        r"\\vm-ts-pi\Timeseer\Reactors",
    )
    assert server.encode() in PUBLISHED
    assert element.encode() in PUBLISHED


@pytest.mark.parametrize(
    "text",
    ["", "F", "F1", "F1DP", "nonsense", "F0DPWH50K8QNs0mNNARckNKhJAAQAAAA", "X1DPWH50K8QNs0mNNARckNKhJAAQAAAA",
     "F1ZZWH50K8QNs0mNNARckNKhJAAQAAAA", "I1DPWH50K8QNs0mNNARckNKhJAAQAAAAXX", "I1DPWH50K8QNs0mNNARckNKhJAAQ",
     "i1dpwh50k8qns0mnnarcknkhjaaqaaaa", "I1DPWH50K8QNs0mNNARckNKhJ AQAAAA"],
)  # fmt: skip
def test_what_is_no_webid_is_refused(text: str) -> None:
    with pytest.raises(InvalidWebIdError, match="is not a WebID"):
        WebId.parse(text)
