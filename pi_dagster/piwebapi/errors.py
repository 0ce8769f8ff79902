"""What can go wrong between us and a PI Web API server, split by whether a repeat can clear it.

PIWebAPIError
├── TransientError            the same request may succeed later
│   ├── ConnectionFailedError     refused, reset, dropped, name not found
│   ├── RequestTimeoutError       no answer within the read timeout
│   ├── ServerTroubleError        408, 429 and 5xx
│   ├── BrokenAnswerError         cut or unreadable body, WebException on a 200, values that failed to stream
│   └── ListKeepsChangingError    a list that was another one each time it was read
└── PermanentError            repeating it is useless
    ├── LoginRefusedError         401, or a ticket or token that is not to be had
    │   └── SecretRefusedError        the password, key or client secret is wrong, or so it is said
    ├── CertificateError          TLS: a certificate or a certificate file is not accepted
    ├── RequestRefusedError       other 4xx and 3xx
    ├── NotPIWebAPIError          something answers, but it is not PI Web API
    ├── AnswerTooLargeError       the body is larger than the site allows
    ├── LimitMismatchError        the server allows fewer events a call than the site says
    ├── AssetsNotFoundError       no such AF server, database, element, template or category
    ├── StreamMissingError        the server leaves a tag out of its answer
    ├── StreamUpdatesMissingError the server has no Stream Updates
    ├── TooManyEqualTimesError    more events at one instant than one request may return
    └── WriteRefusedError         our own refusal to send anything that is not a read
"""

from __future__ import annotations

from pi_dagster.redaction import redacted
from pi_dagster.server_text import without_orders


class PIWebAPIError(Exception):
    """Root of everything the client raises; the message says what, where and what to do, and holds no secret.

    Args:
        message: what to tell the user; a server's own words may hold what was sent to it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(redacted(without_orders(message)))


class TransientError(PIWebAPIError):
    """A repeat can clear it."""


class ConnectionFailedError(TransientError):
    """No connection, or it broke."""


class RequestTimeoutError(TransientError):
    """The server did not answer in time."""


class ServerTroubleError(TransientError):
    """The server answered 408, 429 or 5xx.

    Args:
        message: what to tell the user.
        status: the HTTP status.
        retry_after_seconds: what the server asked for, if it did.
    """

    def __init__(self, message: str, *, status: int, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class BrokenAnswerError(TransientError):
    """The status says success and the body does not hold it."""


class ListKeepsChangingError(TransientError):
    """A list that is read in pages changed each time it was read."""


class PermanentError(PIWebAPIError):
    """A repeat cannot clear it."""


class LoginRefusedError(PermanentError):
    """401, or a login that comes to nothing before: no ticket or token, something missing, a server without proof."""


class SecretRefusedError(LoginRefusedError):
    """A password, the key in a keytab or a client's secret was refused; an account may be locked for more of that."""


class CertificateError(PermanentError):
    """TLS: a certificate that is not trusted, expired or of another host, or a certificate file of the site."""


class RequestRefusedError(PermanentError):
    """The server refused this request.

    Args:
        message: what to tell the user.
        status: the HTTP status.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotPIWebAPIError(PermanentError):
    """Something answers at the URL, but not PI Web API."""


class AnswerTooLargeError(PermanentError):
    """The answer is larger than the site's `max_body_mebibytes`."""


class LimitMismatchError(PermanentError):
    """The site's `max_items_per_call` is above the server's MaxReturnedItemsPerCall."""


class AssetsNotFoundError(PermanentError):
    """The AF server, database, element, template or category that the site names is not there for this login."""


class StreamMissingError(PermanentError):
    """The server left a stream out of its answer: the tag is deleted or this login may not read it."""


class StreamUpdatesMissingError(PermanentError):
    """The server has no Stream Updates, or they are not switched on."""


class TooManyEqualTimesError(PermanentError):
    """More events share one microsecond than one request may return, so a page cannot be turned."""


class WriteRefusedError(PermanentError):
    """The client was asked to send something that is not a read."""
