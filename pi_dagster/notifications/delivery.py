"""How a message gets to an address: by apprise, which speaks to webhooks of every kind and to mail servers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pi_dagster.notifications.message import Message
from pi_dagster.redaction import redacted
from pi_dagster.site import SecretMissingError, secret_from_environment

if TYPE_CHECKING:
    import apprise


def trouble_of_address(variable: str) -> str | None:
    """Why no message can be sent to the address that the environment variable `variable` holds; sends none.

    Returns:
        None where one can be sent; what is wrong never holds the address itself.
    """
    messenger = _messenger(variable)
    return messenger if isinstance(messenger, str) else None


def trouble_of_sending(message: Message, variable: str) -> str | None:
    """Send a message to the address that the environment variable `variable` holds.

    Returns:
        None where it was sent, otherwise why not, without the address itself.
    """
    messenger = _messenger(variable)
    if isinstance(messenger, str):
        return messenger
    import apprise

    with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as log:  # type: ignore[no-untyped-call]
        is_sent = messenger.notify(title=message.title, body=message.body, body_format=apprise.NotifyFormat.TEXT)
        reason = " ".join(log.getvalue().split())
    if is_sent:
        return None
    return f"The message to {variable} could not be delivered: {redacted(reason) or 'the reason is not known'}"


def _messenger(variable: str) -> apprise.Apprise | str:
    """What sends to the address, or why there is none."""
    # An extra, and every run would pay for importing it at the top.
    try:
        import apprise
    except ModuleNotFoundError:
        return "The site has `notifications`, and apprise is not installed: install pi-dagster[notifications]."
    try:
        address = secret_from_environment(variable, setting="notifications.targets_env")
    except SecretMissingError as error:
        return str(error)
    messenger = apprise.Apprise()
    if not messenger.add(address):
        return (
            f"The environment variable {variable} holds no address that a message can be sent to. Write the URL of a "
            "Microsoft Teams or Slack webhook as it was given to you, mailtos://user:password@smtp.example.com?to=..., "
            "or jsons://host/path for a webhook of your own."
        )
    return messenger
