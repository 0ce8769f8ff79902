"""One request and its answer, free of sockets: what the routes work on, whether they came alone or in a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from urllib.parse import parse_qsl

import msgspec

from pi_dagster.simulator.selected_fields import SelectedFields
from pi_dagster.webid import WebIdType

JSON = "application/json; charset=utf-8"
_WEB_ID_TYPES = {form.value.lower(): form for form in WebIdType}


class RefusedError(Exception):
    """An answer other than success: a status, the messages of its `Errors`, and headers."""

    def __init__(
        self, status: int, *errors: str, key: str = "Errors", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status}: {'; '.join(errors)}")
        self.status = status
        self.errors = errors
        self.body: dict[str, object] = {key: list(errors) if key == "Errors" else " ".join(errors)}
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Reply:
    """What a route returns when it is not a plain 200: status, a tree of JSON (None is no body) and headers."""

    status: int
    tree: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A finished answer: bytes as they go to the client or into a batch."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @classmethod
    def of(cls, status: int, tree: object, headers: Mapping[str, str] | None = None) -> Answer:
        """Encode a tree of dicts, lists, plain values and `msgspec.Raw`, which is JSON already."""
        if tree is None:
            return cls(status, b"", dict(headers or {}))
        return cls(status, msgspec.json.encode(tree), {"Content-Type": JSON, **(headers or {})})


class Query:
    """The query parameters of a request; names are not case-sensitive and may repeat, unknown ones are ignored."""

    def __init__(self, text: str) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in parse_qsl(text, keep_blank_values=True):
            self._values.setdefault(name.lower(), []).append(value)

    def all(self, name: str) -> list[str]:
        """Every value given for the parameter."""
        return self._values.get(name.lower(), [])

    def text(self, name: str) -> str | None:
        """The parameter's first value; None where it is absent or empty."""
        return next(iter(self.all(name)), None) or None

    def required(self, name: str) -> str:
        """The parameter's first value.

        Raises:
            RefusedError: it is absent or empty.
        """
        value = self.text(name)
        if value is None:
            raise RefusedError(400, f"The required parameter '{name}' is missing.")
        return value

    def whole(self, name: str, default: int) -> int:
        """The parameter as a whole number that is not negative.

        Raises:
            RefusedError: it is something else.
        """
        value = self.text(name)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit():
            raise RefusedError(400, f"The value '{value}' is not valid for the parameter '{name}'.")
        return int(value)

    def boolean(self, name: str, default: bool = False) -> bool:
        """The parameter as `true` or `false`.

        Raises:
            RefusedError: it is something else.
        """
        return self.choice(name, ("true", "false"), "true" if default else "false") == "true"

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        """The parameter as one of the vendor's names, whatever its case, in the vendor's spelling.

        Raises:
            RefusedError: it is none of them.
        """
        value = self.text(name) or default
        for choice in choices:
            if choice.lower() == value.lower():
                return choice
        raise RefusedError(400, f"The value '{value}' is not valid for the parameter '{name}'.")


@lru_cache(maxsize=256)
def _read_query(text: str) -> Query:
    """The parameters of a query; the requests of a batch often share theirs."""
    return Query(text)


@lru_cache(maxsize=256)
def _read_selected(text: str | None) -> SelectedFields:
    return SelectedFields.parse(text)


@dataclass(frozen=True)
class Call:
    """A request.

    Args:
        method: `GET`, `POST` ...
        path: what follows the base URL, percent-encoded, without slashes at its ends.
        query_text: what follows the `?`, encoded.
        base_url: the server's base URL as this client names it, for links.
        headers: lower-case names.
        body: the request's body.
        client: address of the client.
        user: the account it is logged in as; None is anonymous.
        params: the parts of the path that the route names, decoded; filled in when a route is found.
    """

    method: str
    path: str
    query_text: str
    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    client: str = ""
    user: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def query(self) -> Query:
        """The query parameters."""
        return _read_query(self.query_text)

    @cached_property
    def selected(self) -> SelectedFields:
        """The properties the client wants to see."""
        return _read_selected(self.query.text("selectedFields"))

    def web_id_type(self, default: WebIdType) -> WebIdType:
        """The form of WebIDs the client wants.

        Raises:
            RefusedError: `webIdType` is not one of the five.
        """
        text = self.query.text("webIdType")
        if text is None:
            return default
        form = _WEB_ID_TYPES.get(text.lower())
        if form is None:
            raise RefusedError(400, f"The value '{text}' is not valid for the parameter 'webIdType'.")
        return form

    def link(self, *parts: str) -> str:
        """A URL on this server."""
        return "/".join((self.base_url, *parts))

    def json(self) -> object:
        """The body as JSON.

        Raises:
            RefusedError: it is none.
        """
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError as error:
            raise RefusedError(400, f"The request body is not valid JSON: {error}") from error
