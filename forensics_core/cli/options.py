"""Options that several commands share, and the bundle that they lead to.

Those of a cluster are in `cluster`: the collector, which has none, uses these.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from forensics_core._internal.startup import load_aiohttp
from forensics_core._internal.units import human_size, parse_size
from forensics_core.cli.program import run

if TYPE_CHECKING:
    from forensics_core.bundle.reader import BundleReader
    from forensics_core.storage.objects import Traffic

    BundleTraffic = tuple[Traffic, int]
    """What was fetched, and how many bytes there are."""

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

RETENTION_MODES = ("Governance", "Compliance")
"""Spelled out, as the models are only loaded when they are needed; a test compares."""
INCIDENT_ID = "an incident's id: letters, digits, '-', '_' and '.', 63 at most"
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
# Digits of ASCII only: `\d` takes those of every script.
_DURATION = re.compile(r"([0-9]+)([smhd]?)")


def parse_duration(text: str) -> int:
    """Return the seconds of `90`, `90s`, `15m`, `2h` or `30d`; the type of options.

    Raises `click.BadParameter`.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a valid time span: say 90s, 15m, 2h or 30d")
    return int(found[1]) * _SECONDS[found[2]]


def size_type(text: str) -> int:
    """Return the bytes of `100MiB`; the type of options. Raises `click.BadParameter`."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


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


def containers_option(said: str = "Only this one") -> Callable[[F], F]:
    """Add `--container`, passed as `containers`: names of those of a bundle that are meant."""
    return click.option(
        "--container",
        "-c",
        "containers",
        multiple=True,
        metavar="NAME",
        help=f"{said}; repeatable.",
    )


def volumes_option(command: F) -> F:
    """Add `--volume`, passed as `volumes`: those whose content is captured whatever it is."""
    return click.option(
        "--volume",
        "volumes",
        multiple=True,
        metavar="NAME|PATH",
        help="With this volume's content, be it secret; may be repeated.",
    )(command)


def wait_timeout_option(command: F) -> F:
    """Add `--timeout`, passed as `timeout`: seconds that `--wait` waits at most, or None."""
    return click.option(
        "--timeout",
        type=parse_duration,
        metavar="TIME",
        help="With --wait: stop waiting after that.",
    )(command)


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


def object_lock_options(command: F) -> F:
    """Add S3 Object Lock, passed as `retention_days`, `retention_mode` and `legal_hold`."""
    for option in reversed(_OBJECT_LOCK_OPTIONS):
        command = option(command)
    return command


_OBJECT_LOCK_OPTIONS = (
    click.option(
        "--retention-days",
        type=click.IntRange(1, 36500),
        metavar="N",
        help="Object Lock: for how long.",
    ),
    click.option(
        "--retention-mode",
        type=click.Choice(RETENTION_MODES, case_sensitive=False),
        help="Object Lock: who may lift it.  [default: Governance]",
    ),
    click.option("--legal-hold", is_flag=True, help="Object Lock: hold until somebody lifts it."),
)


def upper_option(command: F) -> F:
    """Add `--upper`, passed as `upper`."""
    return click.option(
        "--upper",
        is_flag=True,
        help="Of a container that was removed meanwhile: what it had written, and only that.",
    )(command)


def owner_option(command: F) -> F:
    """Add `--expected-bucket-owner`, passed as `expected_bucket_owner`."""
    return click.option(
        "--expected-bucket-owner",
        metavar="A",
        callback=_check_account,
        help="The account that must own the bucket: 12 digits.",
    )(command)


def _check_account(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Check what goes into a header of every request."""
    if value and not re.fullmatch("[0-9]{12}", value):
        raise click.BadParameter(f"{value!r} is not an account of AWS, which has 12 digits")
    return value


def run_reader(work: Callable[[], Awaitable[T]]) -> T:
    """Do what `run` does, for a command that reads bundles: with less to load."""
    load_aiohttp()
    return run(work)


@asynccontextmanager
async def opened_bundle(
    location: str, owner: str | None, traffic: Traffic | None = None
) -> AsyncIterator[BundleReader]:
    """Open what lies at `location`, in a bucket of the account `owner` if it is given.

    At the end it is told how much was fetched from S3, unless the caller counts it in `traffic`.
    """
    from forensics_core.bundle.reader import open_bundle
    from forensics_core.storage.objects import Traffic
    from forensics_core.storage.s3.client import S3Access

    own = traffic or Traffic()
    access = S3Access(expected_bucket_owner=owner, traffic=own)
    async with open_bundle(location, access=access) as bundle:
        try:
            yield bundle
        finally:
            if traffic is None:
                print_traffic(own, whole_size(bundle))


def whole_size(bundle: BundleReader) -> int:
    """Return how many bytes the artifacts of a bundle have, as stored."""
    return sum(bundle.stored_size(each) for each in bundle.objects.values())


def print_traffic(traffic: Traffic, whole: int) -> None:
    """Say on the standard error how much was fetched, and how much there is; nothing of a folder.

    `whole`: the bytes of the artifacts, as stored.
    """
    if traffic.requests:
        fetched, has = (human_size(size, digits=2) for size in (traffic.size, whole))
        count = "1 request" if traffic.requests == 1 else f"{traffic.requests:,} requests"
        # Manifest, sums, seal and listings are fetched, too: it can be more than the artifacts are.
        click.echo(f"Fetched {fetched} in {count}; the artifacts have {has}", err=True)


def traffic_as_json(traffic: Traffic, whole: int) -> dict[str, int] | None:
    """Return the same for JSON; None of a folder."""
    told = {"bytes": traffic.size, "requests": traffic.requests, "of": whole}
    return told if traffic.requests else None
