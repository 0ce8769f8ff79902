"""What is wrong with a setting in words for plant people; pydantic's own speak of dictionaries, tuples and regexes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import yaml
from pydantic_core import ErrorDetails

from pi_dagster.site import ELEMENT_PATH_PATTERN, HOST_PATTERN, NAME_PATTERN, PRINCIPAL_PATTERN

LETTERS_OF_PATTERN = {
    NAME_PATTERN: "use only letters A to Z, digits and _ . - and no blanks",
    ELEMENT_PATH_PATTERN: "write a path that begins with / and a name, like /Enterprise/Site1",
    PRINCIPAL_PATTERN: "write a principal like svc_dagster@PLANT.EXAMPLE.COM",
    HOST_PATTERN: "write only the host name, like pi.example.com",
    r"^https?://[^/]": "write a URL like https://identity.example.com/connect/token",
    r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$": "write a catalog and a schema, like main.pi",
    r"^[A-Za-z0-9_.@-]{1,128}/[A-Za-z0-9_.-]{1,128}$": (
        "write the scope and the key of a secret, like pi/password, not the secret itself"
    ),
    r"^\d+\.\S+$": "write a Databricks Runtime, like 18.x-scala2.13",
    r"^\d{4}-\d{6}-\w+$": "write the cluster's id, like 1102-060000-boiler12",
    r"^/Volumes/[^/]+/[^/]+/[^/]+(/[^/]+)*$": "write a folder of a volume, like /Volumes/main/pi/dagster",
    r"^\d+$": 'write a whole number in quotes, like "5"',
    r"^[A-Za-z0-9_]+$": "use only letters A to Z, digits and _ and no blanks",
    r"^[A-Za-z_][A-Za-z0-9_]*$": (
        "this is the name of an environment variable, not the secret itself: letters A to Z, digits and _ only"
    ),
}
"""What each pattern of a setting allows; a test holds it against the site's patterns."""

_SETTINGS = "write its settings as `name: value` lines"
_LIST = "write a list, such as [a, b]"
_WHOLE_NUMBER = "write a whole number"
_NUMBER = "write a number"
_YES_OR_NO = "write true or false"

_WORDS: Mapping[str, str | Callable[[Mapping[str, Any]], str]] = {
    "model_type": _SETTINGS,
    "model_attributes_type": _SETTINGS,
    "dict_type": _SETTINGS,
    "tuple_type": _LIST,
    "too_short": "must not be empty; name at least one",
    "string_type": "write a text, and put it in quotes where it looks like something else, such as a number",
    "string_too_short": "must not be empty",
    "string_too_long": lambda limits: f"must not have more than {limits['max_length']} characters",
    "string_pattern_mismatch": lambda limits: LETTERS_OF_PATTERN[limits["pattern"]],
    "int_type": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": f"{_NUMBER}; .nan and .inf are none",
    "bool_type": _YES_OR_NO,
    "bool_parsing": _YES_OR_NO,
    "greater_than": lambda limits: f"must be more than {limits['gt']:g}",
    "greater_than_equal": lambda limits: f"must be at least {limits['ge']:g}",
    "less_than_equal": lambda limits: f"must not be more than {limits['le']:g}",
    # The login is the only setting of several kinds, and a tag is something else in PI.
    "union_tag_not_found": "say of which `kind` the login is",
    "union_tag_invalid": lambda limits: (
        f"there is no login kind {limits['tag']!r}; known are {limits['expected_tags']}"
    ),
    "literal_error": lambda limits: f"known are {limits['expected']}",
}


def plain_words(error: ErrorDetails) -> str:
    """One phrase that says what is wrong, without what was given: that may be a secret in the wrong place.

    Args:
        error: what pydantic found.
    """
    kind = error["type"]
    if kind.startswith("date_"):
        return "write a date like 2026-01-01"
    if error["input"] is None:
        return "has no value"
    words = _WORDS.get(kind)
    if words is None:
        return error["msg"].removeprefix("Value error, ").rstrip(".")
    return words if isinstance(words, str) else words(error.get("ctx", {}))


def yaml_in_plain_words(error: yaml.MarkedYAMLError) -> str:
    """Why a text is not YAML, and what to do where the cause is a value that lacks quotes."""
    reason = error.problem or error.context or "something is wrong"
    if error.context == "while scanning an alias" or "undefined alias" in reason:
        return 'a * at the beginning of a value means something else in YAML; put it in quotes, like "*"'
    if "cannot start any token" in reason:
        return f"{reason}; put the value in quotes"
    if "unknown escape character" in reason:
        return f"{reason}; put a value with a backslash in single quotes, like 'PLANT\\user'"
    return reason
