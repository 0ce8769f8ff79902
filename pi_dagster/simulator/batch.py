"""`POST /batch`: many requests in one, where later ones can use what earlier ones returned.

The answer is always 207; whether a request succeeded is in its own `Status`, and the failures of the batch
itself (a parent failed, a JSONPath found nothing) are plain strings.
Source: PI Web API reference, controller `batch`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from jsonpath_ng.parser import parse as parse_json_path

from pi_dagster.simulator.calls import Answer, Call, RefusedError, Reply
from pi_dagster.simulator.service import Route, Service

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


async def execute(service: Service, call: Call) -> object:
    """Run the requests of a batch, each as soon as its parents are done."""
    requests = _requests(call.json())
    limit = service.settings.max_batch_requests
    if limit is not None and len(requests) > limit:
        raise RefusedError(400, f"The number of requests in the batch is greater than the maximum allowed ({limit})")
    _check_parents(requests)
    running: dict[str, asyncio.Task[dict[str, Any]]] = {}

    async def run(request_id: str) -> dict[str, Any]:
        request = requests[request_id]
        parents = {parent: await running[parent] for parent in request.get("ParentIds") or ()}
        failed = [parent for parent, result in parents.items() if result["Status"] >= 400]
        if failed:
            return _failure(409, f"The following ParentIds did not complete successfully: {', '.join(failed)}.")
        return await _run_request(service, call, request, parents)

    # Creating a task does not start it, so every parent is known before the first one runs.
    for request_id in requests:
        running[request_id] = asyncio.ensure_future(run(request_id))
    results = await asyncio.gather(*running.values())
    return Reply(207, dict(zip(running, results, strict=True)))


def _requests(body: object) -> dict[str, dict[str, Any]]:
    if not isinstance(body, dict) or not all(isinstance(request, dict) for request in body.values()):
        raise RefusedError(400, "The batch must be an object of requests.")
    for request_id, request in body.items():
        if str(request.get("Method", "")).upper() not in _METHODS:
            raise RefusedError(400, f"The request '{request_id}' has no valid Method.")
        if not request.get("Resource") and not (request.get("RequestTemplate") or {}).get("Resource"):
            raise RefusedError(400, f"The request '{request_id}' has no Resource.")
    return cast("dict[str, dict[str, Any]]", body)


def _check_parents(requests: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a batch whose requests wait for ones that do not exist, or for each other."""
    done: set[str] = set()
    waiting = dict(requests)
    while waiting:
        ready = [name for name, request in waiting.items() if done.issuperset(request.get("ParentIds") or ())]
        if not ready:
            raise RefusedError(400, f"The ParentIds of the request '{next(iter(waiting))}' are invalid.")
        for name in ready:
            done.add(name)
            del waiting[name]


def _failure(status: int, message: str) -> dict[str, Any]:
    return {"Status": status, "Headers": {}, "Content": message}


async def _run_request(
    service: Service, outer: Call, request: Mapping[str, Any], parents: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    template = request.get("RequestTemplate") or {}
    resource = str(request.get("Resource") or template["Resource"])
    paths = [str(path) for path in request.get("Parameters") or ()]
    by_path = not template and resource.startswith("$")
    tokens = []
    for path in [resource] if by_path else paths:
        try:
            found = _select(path, parents)
        except Exception as error:  # jsonpath_ng raises bare Exception for what it cannot parse
            return _failure(400, f"The JSON path {path} is invalid: {error}")
        if not found:
            return _failure(400, f"Some JSON paths did not select any tokens: {path}.")
        if not template and len(found) > 1:
            return _failure(400, f"The JSON path {path} selected more than one token.")
        tokens.append(found)
    if by_path:
        resource, tokens = tokens[0][0], []
    if not template:
        return await _run_one(service, outer, request, _filled(resource, [found[0] for found in tokens]))
    count = max((len(found) for found in tokens), default=1)
    if any(len(found) not in (1, count) for found in tokens):
        return _failure(400, "The Parameters select different numbers of tokens.")
    items = []
    for i in range(count):
        values = [found[i if len(found) > 1 else 0] for found in tokens]
        items.append(await _run_one(service, outer, request, _filled(resource, values)))
    return {"Status": 207, "Headers": {}, "Content": {"Total": count, "Items": items}}


def _filled(resource: str, values: list[str]) -> str:
    for number, value in enumerate(values):
        resource = resource.replace(f"{{{number}}}", value)
    return resource


def _select(path: str, parents: Mapping[str, dict[str, Any]]) -> list[str]:
    # A request id may be a number, which jsonpath_ng takes for an index unless it is quoted.
    quoted = re.sub(r"\.(\d+)(?=[.\[]|$)", r".'\1'", path)
    document = msgspec.json.decode(msgspec.json.encode(parents))
    return [str(match.value) for match in parse_json_path(quoted).find(document)]


async def _run_one(service: Service, outer: Call, request: Mapping[str, Any], resource: str) -> dict[str, Any]:
    inside = re.sub(r"^.*?/piwebapi(?=[/?]|$)", "", resource, count=1, flags=re.IGNORECASE)
    if inside == resource:
        return _failure(400, f"The resource '{resource}' is not one of this server.")
    path, _, query_text = inside.partition("?")
    headers = {str(name).lower(): str(value) for name, value in (request.get("Headers") or {}).items()}
    content = request.get("Content") or ""
    body = content.encode() if isinstance(content, str) else b""
    call = Call(
        method=str(request["Method"]).upper(),
        path=path.strip("/"),
        query_text=query_text,
        base_url=outer.base_url,
        headers=headers,
        body=body,
        client=outer.client,
        user=outer.user,
    )
    if call.path.lower() == "batch":
        return _failure(400, "A batch cannot hold a batch.")
    return _as_result(await service.answer(call))


def _as_result(answer: Answer) -> dict[str, Any]:
    content: object = {}
    if answer.body:
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        content = msgspec.Raw(answer.body) if is_json else answer.body.decode()
    return {"Status": answer.status, "Headers": dict(answer.headers), "Content": content}


ROUTES = (Route("POST", "batch", execute),)
