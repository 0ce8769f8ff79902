"""What can be configured about the simulated server: its limits, and one switch for each open question.

An open question is a behaviour of PI Web API that no public source settles. A client must live with every
answer, so a test can choose it here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from pi_dagster.simulator.auth import AnonymousMethod, BasicMethod, LoginMethod
from pi_dagster.simulator.events import Ticks, utc_now
from pi_dagster.webid import WebIdType


@dataclass(frozen=True, kw_only=True)
class SimulatorSettings:
    """Settings of one simulated PI Web API server; the defaults are a default installation's, without a login.

    Args:
        user: account for basic login; None lets everyone in (authentication method Anonymous).
        password: its password.
        login: another authentication method instead.
        latency_seconds: added to every answer without holding up others.
        workers: requests that are worked on at once, further ones wait; None is no limit.
        worker_seconds: how long one request keeps a worker.
        gzip_level: 0 (fast) to 3 (small) for clients that accept gzip; None never compresses.
        now: the server's clock, in ticks.
        server_time_zone: IANA name of the zone that time strings without a zone are in.
        web_id_type: the form of WebIDs where the request asks for none (configuration item WebIDType).
        max_returned_items: MaxReturnedItemsPerCall; a larger `maxCount` is refused.
        default_max_count: events or objects returned where the request gives no `maxCount`.
        rate_limit_requests: RateLimitMaxRequests per client address in `rate_limit_seconds`; None is no limit.
        rate_limit_searches: the same for search controllers (`points/search`).
        max_body_bytes: MaxRequestContentLength; a longer request body is refused with 413.
        max_request_head_bytes: length of request line and headers that HTTP.sys takes.
        max_path_segment: length of one path segment that HTTP.sys takes.
        csrf_defense: EnableCSRFDefense; writing methods need a header `X-Requested-With`.
        disable_writes: DisableWrites; only reads and batches of reads are served.
        prints_annotated: False for servers before 2019, whose values carry no `Annotated`.
        keep_alive_seconds: how long an idle connection stays open.
        af_cache_seconds: how old a user's AF cache may be before changes of the asset model are seen without
            `Cache-Control: no-cache`.
        af_rights: what every account may do in AF; `Admin` is all.
        links_to: base URL that links name instead of the one that was asked, as behind a reverse proxy.
        stream_updates: whether Stream Updates are there; `absent` as on servers before 2018 SP1, `empty` as on those
            that answer a registration with nothing.

    Open questions (the reference is silent):
        csrf_status: status where the CSRF header is missing.
        denial_key: key of the message on 401, 403 and 429.
        retry_after: value of the `Retry-After` header of a rate-limited answer; None sends none.
        non_finite: NaN and infinities as quoted names or as bare tokens, which are not JSON.
        streamset_limit: whether MaxReturnedItemsPerCall limits each stream of a set or their sum.
        bad_stream_in_set: what an unknown WebID does to an ad-hoc streamset: fail the request, carry an error
            in its item, or be left out.
        max_batch_requests: most sub-requests of a batch; None is no limit.
        batch_counts_each_request: whether each sub-request counts against the rate limit.
        selected_fields_drop_web_exception: whether `selectedFields` can hide a `WebException`.
        not_found_text: the message of a 404, with `{what}`.
        iana_time_zones: whether `timeZone` takes IANA names beside Windows names.
        lost_marker_in_set: what a marker that is not known does to a request with several: fail it, or carry an error
            in its item.
        updates_idle_seconds: how long a signup to updates lasts that nobody asks about.
        max_pending_updates: events that a signup holds before it is given up.
        recorded_includes_snapshot: whether `recorded` returns the newest value, not yet archived.
        open_end_time: the end of an event frame in progress.
        unacknowledged_date: when an event frame was acknowledged that was not; None leaves date and name out.
        count_includes_bad: whether an EventWeighted `Count` counts bad values and system states.
        count_of_nothing: what an EventWeighted `Count` is where there is nothing to count: 0, or a bad value.
        config_string_ids: whether the `ConfigString` of a PI Point attribute carries ids behind a `?`.
        repeats_multi_parent: whether a search of the full hierarchy lists an element once for each of its parents.
        searches_root_attributes: whether `elements/{webId}/elementattributes` searches the element itself too.
        searches_excluded: whether searches of attributes find hidden and excluded ones.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    login: LoginMethod | None = None
    latency_seconds: float = 0.0
    workers: int | None = None
    worker_seconds: float = 0.0
    gzip_level: int | None = 1
    now: Callable[[], Ticks] = utc_now
    server_time_zone: str = "UTC"
    web_id_type: WebIdType = WebIdType.FULL
    max_returned_items: int = 150_000
    default_max_count: int = 1000
    rate_limit_requests: int | None = 1000
    rate_limit_searches: int | None = 50
    rate_limit_seconds: float = 1.0
    max_body_bytes: int = 4_194_304
    max_request_head_bytes: int = 16_384
    max_path_segment: int = 260
    csrf_defense: bool = True
    disable_writes: bool = False
    prints_annotated: bool = True
    keep_alive_seconds: int = 120
    af_cache_seconds: float = 0.0
    af_rights: tuple[str, ...] = ("Read", "ReadData")
    links_to: str | None = None
    stream_updates: Literal["on", "absent", "empty"] = "on"

    csrf_status: Literal[400, 403] = 400
    denial_key: Literal["Errors", "Message"] = "Errors"
    retry_after: str | None = None
    non_finite: Literal["quoted", "bare"] = "quoted"
    streamset_limit: Literal["per_stream", "total"] = "per_stream"
    bad_stream_in_set: Literal["fail", "error", "missing"] = "fail"
    max_batch_requests: int | None = None
    batch_counts_each_request: bool = False
    selected_fields_drop_web_exception: bool = False
    not_found_text: str = "The specified {what} was not found."
    iana_time_zones: bool = True
    lost_marker_in_set: Literal["fail", "error"] = "fail"
    updates_idle_seconds: float = 900.0
    max_pending_updates: int = 100_000
    recorded_includes_snapshot: bool = True
    count_includes_bad: bool = True
    count_of_nothing: Literal["zero", "no_data"] = "zero"
    open_end_time: str = "9999-12-31T23:59:59.9999999Z"
    unacknowledged_date: str | None = "1970-01-01T00:00:00Z"
    config_string_ids: bool = True
    repeats_multi_parent: bool = True
    searches_root_attributes: bool = False
    searches_excluded: bool = True

    def __post_init__(self) -> None:
        """Refuse half a login.

        Raises:
            ValueError: a user without a password, or the reverse.
        """
        if (self.user is None) != (self.password is None):
            raise ValueError("a login needs both a user and a password")

    def login_method(self) -> LoginMethod:
        """The server's authentication method."""
        if self.user is not None and self.password is not None:
            return BasicMethod(self.user, self.password)
        return self.login or AnonymousMethod()
