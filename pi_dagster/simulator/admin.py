"""The admin door: what a test does to a server behind its clients' back. It listens on a port of its own.

POST   /events    {"tag", "action": "insert" | "replace" | "remove", "values": [TimedValue, ...]}
POST   /event-frames  {"action": "open" | "close" | "edit" | "acknowledge" | "annotate" | "delete", "id", ...}, see
                      `event_frame_orders`; answers with the frame's id
POST   /stream-updates  {"action": "forget"} all signups, or {"action": "unregister", "tag", "reason"}
GET    /faults    the faults in force, by number
POST   /faults    a fault's fields, see `faults.Fault`; answers with its number
DELETE /faults    all of them, or one with ?number=
GET    /requests  what clients asked: numbers by route, in all, and most in flight at once
DELETE /requests  count anew
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pi_dagster.simulator.archive import UpdateOption
from pi_dagster.simulator.event_frame_orders import change_event_frames
from pi_dagster.simulator.faults import Fault
from pi_dagster.simulator.service import Service
from pi_dagster.simulator.stream_updates import order_updates
from pi_dagster.simulator.writes import write_events

if TYPE_CHECKING:
    from pi_dagster.simulator.server import RequestLog

_ACTIONS = {"insert": UpdateOption.INSERT, "replace": UpdateOption.REPLACE, "remove": UpdateOption.REMOVE}


def admin_app(service: Service, requests: RequestLog) -> Starlette:
    """The admin door of a service and of the log of its requests."""

    async def change_events(request: Request) -> Response:
        try:
            order = msgspec.json.decode(await request.body(), type=dict[str, Any])
            option = _ACTIONS[order.get("action", "insert")]
            values = order["values"]
        except (msgspec.DecodeError, KeyError) as error:
            return _mistake(f"the body needs tag, action ({', '.join(_ACTIONS)}) and values: {error}")
        point = service.archive.point_by_name(str(order.get("tag", "")))
        if point is None:
            return _mistake(f"there is no tag {order.get('tag')!r}")
        substatuses = write_events(service, point, values, option)
        failed = any(item["Substatus"] != 204 for item in substatuses)
        return JSONResponse({"Items": substatuses}, 400 if failed else 200)

    async def change_frames(request: Request) -> Response:
        try:
            order = msgspec.json.decode(await request.body(), type=dict[str, Any])
            frame_id = change_event_frames(service, order)
        except (msgspec.DecodeError, ValueError) as error:
            return _mistake(str(error))
        return JSONResponse({"id": str(frame_id)})

    async def change_updates(request: Request) -> Response:
        try:
            order_updates(service, msgspec.json.decode(await request.body(), type=dict[str, Any]))
        except (msgspec.DecodeError, ValueError) as error:
            return _mistake(str(error))
        return Response(status_code=204)

    async def list_faults(request: Request) -> Response:
        return JSONResponse({str(number): fault.describe() for number, fault in service.faults.active().items()})

    async def add_fault(request: Request) -> Response:
        try:
            fields = msgspec.json.decode(await request.body(), type=dict[str, Any])
            unknown = set(fields) - {field.name for field in dataclasses.fields(Fault)}
            if unknown:
                raise ValueError(f"a fault has no {', '.join(sorted(unknown))}")
            fault = msgspec.convert(fields, Fault)
        except (msgspec.DecodeError, ValueError) as error:
            return _mistake(str(error))
        return JSONResponse({"number": service.faults.add(fault)}, 201)

    async def clear_faults(request: Request) -> Response:
        number = request.query_params.get("number")
        if number is not None and not number.isdigit():
            return _mistake(f"{number!r} is not the number of a fault")
        service.faults.clear(int(number) if number is not None else None)
        return Response(status_code=204)

    async def show_requests(request: Request) -> Response:
        return JSONResponse(
            {"total": requests.total, "max_in_flight": requests.max_in_flight, "per_route": dict(requests.per_route)}
        )

    async def clear_requests(request: Request) -> Response:
        requests.clear()
        return Response(status_code=204)

    return Starlette(
        routes=[
            Route("/events", change_events, methods=["POST"]),
            Route("/event-frames", change_frames, methods=["POST"]),
            Route("/stream-updates", change_updates, methods=["POST"]),
            Route("/faults", list_faults, methods=["GET"]),
            Route("/faults", add_fault, methods=["POST"]),
            Route("/faults", clear_faults, methods=["DELETE"]),
            Route("/requests", show_requests, methods=["GET"]),
            Route("/requests", clear_requests, methods=["DELETE"]),
        ]
    )


def _mistake(message: str) -> Response:
    return JSONResponse({"Errors": [message]}, 400)
