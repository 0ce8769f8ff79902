"""Secrets are taken out of a text before it is shown, logged or kept: the one place that knows how.

Every secret that is read from the environment is remembered here for the life of the process, and errors pass their
messages through `redacted`: a server may send a password back in an error page, and a library may print a header.
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
from collections import deque
from urllib.parse import quote, quote_plus

MASK = "***"

SHORTEST_SECRET = 6
"""Masking a shorter text would cut up the words of every message and protect nothing."""

_SECRET_NAME = re.compile(
    r"(?:secret|password|passphrase|token|credential|(?:^|_)sas(?:_|$)|key(?:_base64)?$)(?!.*_(?:file|path|uri|id)$)",
    re.IGNORECASE,
)

_LOGIN_HEADER = re.compile(
    r"\b((?i:Basic|Bearer|Negotiate|NTLM|Kerberos) +)(?=\S*(?:[0-9+/=]|[a-z][A-Z]))[A-Za-z0-9+/._~-]{12,}=*"
)
"""What a server in debug mode may send back: tickets and answers to a challenge are secrets that nobody remembers."""

_MOST_PASSING = 16

_lock = threading.Lock()
_secrets: set[str] = set()
_passing: deque[str] = deque(maxlen=_MOST_PASSING)
_pattern: re.Pattern[str] | None = None


def is_secret_name(option: str) -> bool:
    """Whether an option of that name, such as `aws_secret_access_key`, holds a secret."""
    return _SECRET_NAME.search(option) is not None


def remember_secret(secret: str, *, is_passing: bool = False) -> None:
    """Keep `secret` out of every text that is redacted from now on, in the forms that it is sent in too.

    Args:
        secret: left alone when it is shorter than SHORTEST_SECRET.
        is_passing: it is renewed every few minutes, as tokens are, so that only the last few are remembered.
    """
    global _pattern
    with _lock:
        if len(secret) < SHORTEST_SECRET or secret in _secrets or secret in _passing:
            return
        if is_passing:
            _passing.append(secret)
        else:
            _secrets.add(secret)
        forms = {form for known in (*_secrets, *_passing) for form in forms_of(known)}
        _pattern = re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))


def redacted(text: str) -> str:
    """`text` with every remembered secret masked, whether it stands there plain, escaped, URL-encoded or in base64.

    What looks like the value of an `Authorization` header is masked too.
    """
    if _pattern is not None:
        text = _pattern.sub(MASK, text)
    return _LOGIN_HEADER.sub(rf"\1{MASK}", text)


def forms_of(secret: str) -> set[str]:
    """How `secret` looks in URLs, JSON, HTML and base64; in base64 also as the end of a longer text.

    Args:
        secret: any text.
    """
    raw = secret.encode()
    forms = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
    }
    for before in range(3):
        # The digits that the neighbours of the secret share with it are left out.
        first = (before * 8 + 5) // 6
        last = (before + len(raw)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            forms.add(encode(bytes(before) + raw).decode()[first:last])
    return forms
