"""The PI WebID 2.0 codec: which object a WebID names, whatever form the server wrote it in.

One object has up to five WebID strings; only the ids inside are stable under renames and moves, so the project
stores and compares the IDOnly form.
Source: AVEVA PI Web API reference, topics "WebID type" and "WebID encoding"
(docs.aveva.com/bundle/pi-web-api-reference/page/help/topics/webid-type.html, .../webid-encoding.html).
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass, replace
from enum import Enum
from uuid import UUID


class WebIdType(str, Enum):
    """The forms of a WebID, by the values of the query parameter `webIdType`."""

    FULL = "Full"
    ID_ONLY = "IDOnly"
    PATH_ONLY = "PathOnly"
    LOCAL_ID_ONLY = "LocalIDOnly"
    DEFAULT_ID_ONLY = "DefaultIDOnly"


_LETTERS = {
    "F": WebIdType.FULL,
    "I": WebIdType.ID_ONLY,
    "P": WebIdType.PATH_ONLY,
    "L": WebIdType.LOCAL_ID_ONLY,
    "D": WebIdType.DEFAULT_ID_ONLY,
}
_LETTER_OF = {web_id_type: letter for letter, web_id_type in _LETTERS.items()}

_POINT = "DP"
_WITH_OWNER = frozenset({"MS", "Ab", "AT", "MV", "XR", "TR"})
_GUIDS = {
    **dict.fromkeys(("DS", "RS"), 1),
    **dict.fromkeys(
        (
            "RD",
            "Em",
            "Fm",
            "ET",
            "Xs",
            "XT",
            "XC",
            "XP",
            "TP",
            "EC",
            "AC",
            "BC",
            "Bl",
            "SI",
            "SM",
            "UC",
            "Ut",
            "MS",
        ),
        2,
    ),
    **dict.fromkeys(("Ab", "AT", "MV", "XR", "TR"), 3),
}
"""How many GUIDs follow each marker, the server's first."""

_GUID_LENGTH = 22
_INT32_LENGTH = 6


class InvalidWebIdError(ValueError):
    """A text that is no WebID 2.0."""


@dataclass(frozen=True)
class WebId:
    """A decoded WebID.

    Args:
        type: the form it is written in.
        marker: two letters that name the kind of object, such as `DP` for a PI point.
        owner_marker: one letter for the kind of owner, for the kinds that have one.
        ids: server GUID first, then the object's own ids; a point ends in its integer id. Empty for PathOnly.
            The layouts of LocalIDOnly and DefaultIDOnly are not published: here the first has the server as an
            integer and the second leaves the server out.
        path: upper-case path without the leading backslashes; None where the form holds none.
    """

    type: WebIdType
    marker: str
    owner_marker: str | None
    ids: tuple[UUID | int, ...]
    path: str | None

    @classmethod
    def parse(cls, text: str) -> WebId:
        """Decode a WebID of any form.

        Raises:
            InvalidWebIdError: the text is no WebID 2.0.
        """
        try:
            web_id_type = _LETTERS[text[0]]
            if text[1] != "1":
                raise ValueError("version is not 2.0")
            marker = text[2:4]
            layout = _layout(marker, web_id_type)
            rest = text[4:]
            owner_marker = None
            if marker in _WITH_OWNER:
                owner_marker, rest = rest[0], rest[1:]
            ids: list[UUID | int] = []
            for kind in layout:
                length = _GUID_LENGTH if kind is UUID else _INT32_LENGTH
                piece, rest = rest[:length], rest[length:]
                ids.append(_decode_guid(piece) if kind is UUID else _decode_int32(piece))
            path = _decode_bytes(rest).decode() if rest else None
            if (path is None) == (web_id_type in (WebIdType.FULL, WebIdType.PATH_ONLY)):
                raise ValueError("path missing or unexpected")
        except (ValueError, LookupError, struct.error, binascii.Error) as error:
            raise InvalidWebIdError(f"{text!r} is not a WebID 2.0") from error
        return cls(web_id_type, marker, owner_marker, tuple(ids), path)

    def encode(self) -> str:
        """The WebID string in this object's form."""
        parts = [_LETTER_OF[self.type], "1", self.marker, self.owner_marker or ""]
        parts += [
            _encode_bytes(item.bytes_le if isinstance(item, UUID) else struct.pack("<i", item)) for item in self.ids
        ]
        if self.path is not None:
            parts.append(_encode_bytes(self.path.upper().encode()))
        return "".join(parts)

    def as_type(self, web_id_type: WebIdType) -> WebId:
        """The same object in another form.

        Raises:
            ValueError: this form lacks what the other needs (only Full can become every other).
        """
        if web_id_type is self.type:
            return self
        if web_id_type is not WebIdType.PATH_ONLY and self.type not in (WebIdType.FULL, WebIdType.ID_ONLY):
            raise ValueError(f"a {self.type.value} WebID holds no ids to write it as {web_id_type.value}")
        if web_id_type in (WebIdType.FULL, WebIdType.PATH_ONLY) and self.path is None:
            raise ValueError(f"an {self.type.value} WebID holds no path to write it as {web_id_type.value}")
        ids = {
            WebIdType.PATH_ONLY: (),
            WebIdType.LOCAL_ID_ONLY: (0, *self.ids[1:]),
            WebIdType.DEFAULT_ID_ONLY: self.ids[1:],
        }.get(web_id_type, self.ids)
        path = self.path if web_id_type in (WebIdType.FULL, WebIdType.PATH_ONLY) else None
        return replace(self, type=web_id_type, ids=ids, path=path)

    @property
    def identity(self) -> str:
        """The IDOnly string: equal for two WebIDs exactly when they name the same object by id.

        Raises:
            ValueError: this form holds no ids.
        """
        return self.as_type(WebIdType.ID_ONLY).encode()


def data_server_webid(server_id: UUID, name: str) -> WebId:
    """The Full WebID of a PI Data Archive."""
    return WebId(WebIdType.FULL, "DS", None, (server_id,), name.upper())


def point_webid(server_id: UUID, point_id: int, server_name: str, tag_name: str) -> WebId:
    """The Full WebID of a PI point."""
    return WebId(WebIdType.FULL, _POINT, None, (server_id, point_id), rf"{server_name}\{tag_name}".upper())


def object_webid(marker: str, ids: tuple[UUID, ...], path: str, owner_marker: str | None = None) -> WebId:
    r"""The Full WebID of an object other than a point.

    Args:
        marker: the kind, such as `Em` for an AF element.
        ids: its GUIDs, server first.
        path: its path, with or without the leading `\\`.
        owner_marker: the kind of owner, for the kinds that have one.
    """
    return WebId(WebIdType.FULL, marker, owner_marker, ids, path.lstrip("\\").upper())


def _layout(marker: str, web_id_type: WebIdType) -> list[type]:
    full: list[type] = [UUID, int] if marker == _POINT else [UUID] * _GUIDS[marker]
    return {
        WebIdType.PATH_ONLY: [],
        WebIdType.LOCAL_ID_ONLY: [int, *full[1:]],
        WebIdType.DEFAULT_ID_ONLY: full[1:],
    }.get(web_id_type, full)


def _encode_bytes(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode_bytes(text: str) -> bytes:
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encode_bytes(raw) != text:
        raise ValueError("bits beyond the last byte")
    return raw


def _decode_guid(text: str) -> UUID:
    return UUID(bytes_le=_decode_bytes(text))


def _decode_int32(text: str) -> int:
    return int(struct.unpack("<i", _decode_bytes(text))[0])
