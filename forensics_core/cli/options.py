"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def output_option(command: F) -> F:
    """Add `-o`, passed as `output`: `text` or `json`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="What to print: text for people, or JSON for programs.",
    )(command)


def owner_option(command: F) -> F:
    """Add `--expected-bucket-owner`, passed as `expected_bucket_owner`."""
    return click.option(
        "--expected-bucket-owner",
        metavar="A",
        callback=_account,
        help="The account that must own the bucket: 12 digits.",
    )(command)


def _account(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Check what goes into a header of every request."""
    if value and not re.fullmatch("[0-9]{12}", value):
        raise click.BadParameter(f"{value!r} is no account of AWS, which has 12 digits")
    return value


def select_option(command: F) -> F:
    """Add `--select`, passed as `select`: globs of objects' names."""
    return click.option(
        "--select",
        multiple=True,
        metavar="GLOB",
        help="Only objects of such a name, as '*/logs/*'; repeatable.",
    )(command)


def object_output_option(command: F) -> F:
    """Add `-o`, passed as `output`: `text`, `json` or `yaml`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json", "yaml"]),
        default="text",
        show_default=True,
        help="What to print: text for people, or the object for programs.",
    )(command)


def upper_option(command: F) -> F:
    """Add `--upper`, passed as `upper`."""
    return click.option(
        "--upper",
        is_flag=True,
        help="Of a container that was removed meanwhile: what it had written, and only that.",
    )(command)
