"""The server without its socket: finds the route of a request, applies what holds for every route, answers.

A request in a batch goes the same way as one of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any
from urllib.parse import unquote

from pi_dagster.simulator.af_model import AssetDatabase
from pi_dagster.simulator.af_server import AssetServer
from pi_dagster.simulator.af_stencil import KeptStencils
from pi_dagster.simulator.af_tags import database_of
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.calls import Answer, Call, RefusedError, Reply
from pi_dagster.simulator.event_frame_experiments import event_frames_of
from pi_dagster.simulator.event_frames import EventFrameStore
from pi_dagster.simulator.events import Ticks
from pi_dagster.simulator.faults import (
    ABOUT_VALUES,
    BEFORE_ROUTING,
    ON_THE_WIRE,
    Fault,
    FaultKind,
    Faults,
    stream_identity,
    with_value_errors,
    with_web_exception,
    without_stream,
)
from pi_dagster.simulator.settings import SimulatorSettings
from pi_dagster.simulator.timestrings import InvalidTimeError, parse_time, time_zone
from pi_dagster.simulator.update_signups import UpdateSignups
from pi_dagster.webid import WebId

Handler = Callable[["Service", Call], "object | Awaitable[object]"]


@dataclass(frozen=True)
class Route:
    """One action of the vendor's: method, path after the base URL with `{names}`, and what answers it.

    `is_search` actions count against the tighter rate limit, `writes` ones can be disabled, and few reading ones
    do not let the client select fields.
    """

    method: str
    template: str
    handler: Handler
    is_search: bool = False
    writes: bool = False
    selects_fields: bool = True

    @property
    def pattern(self) -> re.Pattern[str]:
        """The path as a pattern; letters are not case-sensitive, as in ASP.NET."""
        return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.template)), re.IGNORECASE)


class Service:
    """One PI Web API server over one archive.

    Args:
        archive: the Data Archive behind it.
        settings: how it behaves.
        routes: what it serves; the first that matches answers.
        assets: the AF databases; None is the one that follows from the archive's tags.
        event_frames: the event frames in them; None is those that follow from the archive.
    """

    def __init__(
        self,
        archive: Archive,
        settings: SimulatorSettings,
        routes: Sequence[Route],
        assets: Sequence[AssetDatabase] | None = None,
        event_frames: EventFrameStore | None = None,
    ) -> None:
        self.archive = archive
        self.settings = settings
        self.faults = Faults()
        self.stencils = KeptStencils()
        databases = [database_of(archive)] if assets is None else assets
        self.assets = AssetServer(databases, now=settings.now, cache_seconds=settings.af_cache_seconds)
        self.event_frames = event_frames_of(archive, databases) if event_frames is None else event_frames
        self.signups = UpdateSignups(archive, settings)
        self.started = settings.now()
        self._routes: dict[tuple[str, int], list[tuple[Route, re.Pattern[str]]]] = {}
        for route in routes:
            self._routes.setdefault(_kind_of(route.template), []).append((route, route.pattern))

    def route_of(self, call: Call) -> tuple[Route, Call]:
        """The route that answers a request, and the request with the parts of its path filled in.

        Raises:
            RefusedError: 404 where there is no such path, 405 where it has no such method.
        """
        other_method = False
        for route, pattern in self._routes.get(_kind_of(call.path), ()):
            match = pattern.fullmatch(call.path)
            if match is None:
                continue
            if route.method == call.method:
                params = {name: unquote(part) for name, part in match.groupdict().items()}
                return route, replace(call, params=params)
            other_method = True
        if other_method:
            raise RefusedError(
                405, f"The requested resource does not support http method '{call.method}'.", key="Message"
            )
        url = call.link(call.path)
        raise RefusedError(404, f"No HTTP resource was found that matches the request URI '{url}'.", key="Message")

    async def answer(self, call: Call) -> Answer:
        """Answer a request that has passed the limits; never raises for what the client did wrong."""
        try:
            route, call = self.route_of(call)
            if route.writes and self.settings.disable_writes:
                raise RefusedError(403, "Writes are disabled on this server.", key=self.settings.denial_key)
            return await self._answer_through_faults(route, call)
        except RefusedError as refusal:
            return Answer.of(refusal.status, refusal.body, refusal.headers)
        except InvalidTimeError as error:
            return Answer.of(400, {"Errors": [str(error)]})

    async def _answer_through_faults(self, route: Route, call: Call) -> Answer:
        struck = self._struck(route, call) if self.faults.active() else []
        for fault, _ in struck:
            if fault.kind is FaultKind.SLOW:
                await asyncio.sleep(fault.seconds)
            elif fault.kind is FaultKind.STATUS:
                headers = {"Retry-After": fault.retry_after} if fault.retry_after else None
                raise RefusedError(fault.status or 503, fault.message, headers=headers)
            elif fault.kind is FaultKind.HTML:
                status = fault.status or 502
                page = f"<html><head><title>{status}</title></head><body><h1>{fault.message}</h1></body></html>"
                return Answer(status, page.encode(), {"Content-Type": "text/html"})
        result = route.handler(self, call)
        if inspect.isawaitable(result):
            result = await result
        reply = result if isinstance(result, Reply) else Reply(200, result)
        tree = reply.tree
        for fault, stream in struck:
            if fault.kind is FaultKind.VALUE_ERRORS:
                tree = with_value_errors(tree, fault.message, stream)
            elif fault.kind is FaultKind.MISSING_STREAM:
                tree = without_stream(tree, stream)
            elif fault.kind is FaultKind.WEB_EXCEPTION:
                tree = with_web_exception(tree, "Error occurred during writing of the output stream.")
        if call.method == "GET" and route.selects_fields and reply.status < 300:
            whole, tree = tree, call.selected.prune(tree)
            keeps_exception = not self.settings.selected_fields_drop_web_exception
            if keeps_exception and isinstance(whole, dict) and isinstance(tree, dict) and "WebException" in whole:
                tree["WebException"] = whole["WebException"]
        return Answer.of(reply.status, tree, reply.headers)

    def _struck(self, route: Route, call: Call) -> list[tuple[Fault, str | None]]:
        """The faults that befall a request, with the stream that each is about."""
        possible = set(FaultKind) - ON_THE_WIRE - BEFORE_ROUTING
        if call.method != "GET" or not route.template.startswith("stream"):
            possible -= ABOUT_VALUES
        elif not route.template.startswith("streamsets"):
            possible.discard(FaultKind.MISSING_STREAM)
        if "updates" in route.template:
            possible.discard(FaultKind.VALUE_ERRORS)
        return self.faults.strike(call.path, named_streams(call), possible)

    def not_found(self, what: str) -> RefusedError:
        """The refusal of an object that does not exist or may not be read."""
        return RefusedError(404, self.settings.not_found_text.format(what=what))

    def parse_web_id(self, text: str, *markers: str) -> WebId:
        """A WebID of one of the given kinds of object.

        Raises:
            RefusedError: it is no WebID, or one of another kind.
        """
        try:
            web_id = WebId.parse(text)
        except ValueError as error:
            raise RefusedError(400, f"Unknown or invalid WebID format: '{text}'.") from error
        if web_id.marker not in markers:
            raise RefusedError(400, f"Unknown or invalid WebID format: '{text}'.")
        return web_id

    def write_web_id(self, web_id: WebId, call: Call) -> str:
        """A Full WebID in the form the client, or else the server's configuration, wants."""
        return web_id.as_type(call.web_id_type(self.settings.web_id_type)).encode()

    def time(self, call: Call, text: str | None, *, now: Ticks, default: str = "*") -> Ticks:
        """The instant a time string of the request means.

        Raises:
            InvalidTimeError: it means none.
        """
        return parse_time(text or default, now=now, zone=self.zone(call.query.text("timeZone")))

    def zone(self, name: str | None = None) -> tzinfo:
        """The zone of that name, by default the server's.

        Raises:
            InvalidTimeError: there is no such zone.
        """
        settings = self.settings
        return time_zone(name, server_zone=settings.server_time_zone, iana_names=settings.iana_time_zones)

    def max_count(self, call: Call, *, streams: int = 1) -> int:
        """How many events or objects the request may get, of each stream.

        Raises:
            RefusedError: it asks for more than MaxReturnedItemsPerCall, or for none.
        """
        limit = self.settings.max_returned_items
        wanted = call.query.whole("maxCount", min(self.settings.default_max_count, limit))
        counted = wanted * streams if self.settings.streamset_limit == "total" else wanted
        self.within_limit("maxCount", counted)
        if wanted == 0:
            raise RefusedError(400, "Parameter (maxCount) must be greater than zero.")
        return wanted

    def within_limit(self, name: str, number: int) -> None:
        """Refuse a number above MaxReturnedItemsPerCall.

        Raises:
            RefusedError: it is above.
        """
        limit = self.settings.max_returned_items
        if number > limit:
            raise RefusedError(400, f"Parameter ({name}) is greater than the maximum allowed ({limit})")


def _kind_of(path: str) -> tuple[str, int]:
    """What paths that may match have in common: the controller, and how many parts there are."""
    return path.partition("/")[0].lower(), path.count("/")


def named_streams(call: Call) -> set[str]:
    """Identities of the streams, or other objects, whose WebIDs are in the request's path or query."""
    segments = call.path.split("/")[1:2]
    return {stream_identity(web_id) for web_id in [*segments, *call.query.all("webId")]}


def page_links(call: Call, start: int, count: int, *, more: bool) -> dict[str, Any]:
    """The `Links` of a page of objects: to the first, and to the neighbours that exist."""
    links = {"First": _page(call, 0, count)}
    if start > 0:
        links["Previous"] = _page(call, max(0, start - count), count)
    if more:
        links["Next"] = _page(call, start + count, count)
    return links


def _page(call: Call, start: int, count: int) -> str:
    others = [
        part
        for part in call.query_text.split("&")
        if part and part.split("=")[0].lower() not in ("startindex", "maxcount")
    ]
    return f"{call.link(call.path)}?{'&'.join([*others, f'startIndex={start}', f'maxCount={count}'])}"
