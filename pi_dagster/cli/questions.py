"""What `pi-dagster init` wants to know: taken from an option, asked of the person, or the default."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import typer
from pydantic import BaseModel, ValidationError

from pi_dagster.cli.telling import complain

Answer = TypeVar("Answer")


@dataclass
class Questions:
    """Asks for what no option has told, where there is somebody to answer.

    Args:
        may_ask: False in a script, where the defaults are taken.
    """

    may_ask: bool

    @classmethod
    def for_this_terminal(cls, *, wanted: bool) -> Questions:
        """Questions are asked where they are wanted and stdin is a terminal."""
        return cls(may_ask=wanted and sys.stdin.isatty())

    def answer(
        self, question: str, understand: Callable[[str], Answer], *, given: str | None, option: str, default: str | None
    ) -> Answer:
        """What `understand` makes of the option, the answer or the default.

        Args:
            question: asked where the option is not given; asked again until the answer is understood.
            understand: raises ValueError for what cannot be.
            given: the option's value.
            option: its name, for messages.
            default: None where there is none.

        Raises:
            typer.BadParameter: the option's value cannot be, or it is missing and there is nobody to ask.
        """
        if given is not None or not self.may_ask:
            text = given if given is not None else default
            if text is None:
                raise typer.BadParameter(
                    "is missing, and nobody can be asked: there is no terminal, or --yes was given", param_hint=option
                )
            try:
                return understand(text)
            except ValueError as error:
                raise typer.BadParameter(in_words(error), param_hint=option) from None
        while True:
            text = typer.prompt(question, default=default, show_default=bool(default), err=True).strip()
            try:
                return understand(text)
            except ValueError as error:
                complain(f"  {in_words(error)}")

    def secret(self, question: str) -> str | None:
        """What the person types, without showing it; None for nothing, or where there is nobody to ask."""
        if not self.may_ask:
            return None
        return typer.prompt(question, default="", show_default=False, hide_input=True, err=True) or None


def fits(model: type[BaseModel], settings: Mapping[str, object]) -> None:
    """Nothing, where `settings` can be a `model`.

    Raises:
        ValueError: they cannot; the message says why in plain words.
    """
    from pi_dagster.plain_words import plain_words

    try:
        model.model_validate(settings)
    except ValidationError as error:
        raise ValueError("; ".join(plain_words(problem) for problem in error.errors(include_url=False))) from None


def in_words(error: ValueError) -> str:
    """The message of an answer that was not understood."""
    return str(error).rstrip(".")
