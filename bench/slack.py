"""`python -m bench.slack`: how soon the Slack bot acknowledges, and goes on after a restart.

The bot is a process of its own, at its default paces; Slack and the cluster are stand-ins in this
one, and share the machine with it. The stand-in allows what Slack allows, and no more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import anyio
import click
import yaml

from bench.page import GOAL_COLUMNS, Goal, goal, table
from bench.part import part_options, run_part
from forensics_core.api.crd import crd
from forensics_loopback import LoopbackCluster
from lab.process import LabError, stop, tail
from lab.slack.person import ChannelMember
from lab.slack.server import SlackServer, running_slack
from lab.slack.workspace import APP_TOKEN, BOT_TOKEN, PostedMessage

NAMESPACE, SHOP, USER = "forensics-system", "shop", "U0ALICE"
CHANNELS = [f"C0INC{number}" for number in range(5)]
"""Several, as Slack takes one new message a second in each."""
ASKED = (
    "web-{n} -n shop --reason 'odd traffic'",
    "shop/web-{n}",
    "web-{n} -n shop --dry-run",
    "status case-{n}",
    "list",
)
"""The commands, in turn."""
WAIT_SECONDS = 120.0
"""Seconds to wait for what is not measured."""
MiB = 2**20
JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SlackLoad:
    """How much is measured."""

    watched: int = 100
    commands: int = 50
    rounds: int = 10


QUICK = SlackLoad(watched=5, commands=10, rounds=1)


@dataclass(frozen=True, slots=True)
class SlackMeasurement:
    """What was found out. Seconds, where nothing else is said."""

    size: SlackLoad
    acknowledged: list[float]
    late: int
    """Commands that were not acknowledged within three seconds."""
    refused: int
    """Calls that came too often for Slack."""
    gap: float
    """The least time between two edits of one message."""
    resumed: float
    """From the start of the process to the news of what happened while it was away."""
    peak: int
    """Bytes: the bot's highest resident set."""


@click.command()
@part_options("A few commands", "slack.md")
def main(quick: bool, docs: Path | None) -> None:
    """Measure the Slack bot, and write a table."""
    load = QUICK if quick else SlackLoad()
    run_part(
        "slack.md",
        lambda folder: {"slack": block(anyio.run(_measure, folder, load))},
        quick=quick,
        docs=docs,
    )


def block(measured: SlackMeasurement) -> str:
    """Return the generated part of the page."""
    size, cpus = measured.size, len(os.sched_getaffinity(0))
    setting = (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} on {cpus} CPUs: {size.rounds} times "
        f"{size.commands} commands at once, while {size.watched} running checkpoints were watched "
        "and kept changing. The bot had its default settings; Slack and the cluster were stand-ins."
    )
    return f"{setting}\n\n{table(GOAL_COLUMNS, _goals(measured))}"


def _goals(measured: SlackMeasurement) -> Iterator[list[str]]:
    milliseconds = [1000 * one for one in measured.acknowledged]
    yield goal(Goal("acknowledgement, median, ms", 500), median(milliseconds))
    yield goal(Goal("acknowledgement, 99th percentile, ms", 500), _percentile(milliseconds))
    yield goal(Goal("commands acknowledged too late", 0), measured.late)
    yield goal(Goal("calls that came too often for Slack", 0), measured.refused)
    yield goal(Goal("least seconds between edits of a message", 3, at_least=True), measured.gap)
    yield goal(Goal("seconds from a restart to the first news", 5), measured.resumed)
    yield goal(Goal("peak MiB of the bot", 512), measured.peak / MiB)


def _percentile(values: list[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


async def _measure(folder: Path, size: SlackLoad) -> SlackMeasurement:
    namespaces = (SHOP, NAMESPACE)
    async with running_slack() as slack, LoopbackCluster(namespaces=namespaces) as cluster:
        bench = SlackBench(slack, cluster, folder, size)
        await bench.prepare()
        async with bench.bot():
            await bench.until(lambda: len(slack.workspace.roots()) >= size.watched)
            await bench.rounds()
        edits = [list(message.edited) for message in slack.workspace.messages]
        resumed = await bench.resume()
    gaps = [later - sooner for one in edits for sooner, later in pairwise(one)]
    return SlackMeasurement(
        size=size,
        acknowledged=bench.acknowledged,
        late=bench.late,
        refused=slack.rates.refused if slack.rates else 0,
        gap=min(gaps),
        resumed=resumed,
        peak=bench.peak,
    )


@dataclass
class SlackBench:
    """The stand-ins, and the bot between them."""

    slack: SlackServer
    cluster: LoopbackCluster
    folder: Path
    size: SlackLoad
    acknowledged: list[float] = field(default_factory=list)
    late: int = 0
    peak: int = 0

    async def prepare(self) -> None:
        """Seat somebody who may do everything; let captures run that nobody ends."""
        self.slack.workspace.add_user(USER)
        for channel in CHANNELS:
            self.slack.workspace.add_channel(channel)
        self.cluster.create(crd())
        for number in range(self.size.commands):
            self.cluster.seed_pod(f"web-{number}", SHOP)
        for number in range(self.size.watched):
            self.cluster.create(_checkpoint(number))
            self.progress(number, 0)
        (self.folder / "settings.yaml").write_text(yaml.safe_dump(self._settings()))
        await self.cluster.kubeconfig(self.folder / "kubeconfig")

    def _settings(self) -> JsonObject:
        channels = [
            {"id": channel, "incidents": [f"INC-{number}"]}
            for number, channel in enumerate(CHANNELS)
        ]
        return {
            "apiUrl": self.slack.api_url,
            "channels": channels,
            "users": [USER],
            "identities": {USER: {"username": "alice"}},
            "healthPort": 0,
        }

    def progress(self, number: int, done: int, **more: Any) -> None:
        """Let the operator say something of a capture."""
        progress = {"artifactsDone": done % 10, "artifactsTotal": 10, "bytesRead": done * MiB}
        began = {"phase": "Capturing", "attempt": 1, "node": "node1"}
        status = began | {"startTime": "2026-01-01T00:00:00Z", "progress": progress} | more
        self.cluster.patch("podcheckpoints", f"case-{number}", {"status": status}, NAMESPACE)

    async def until(self, met: Any) -> Any:
        """Wait for something in the workspace."""
        return await self.slack.workspace.until(met, WAIT_SECONDS)

    async def rounds(self) -> None:
        """Type all commands of a round at once, again and again, while captures go on."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._go_on)
            for _ in range(self.size.rounds):
                answered = len(self.slack.workspace.ephemerals)
                async with anyio.create_task_group() as round_:
                    for number in range(self.size.commands):
                        round_.start_soon(self._type, number)
                await self.until(
                    lambda due=answered + self.size.commands: (
                        len(self.slack.workspace.ephemerals) >= due - self.late
                    )
                )
            self.acknowledged = list(self.slack.workspace.acknowledged)
            messages = self.slack.workspace.messages
            await self.until(lambda: any(len(one.edited) > 1 for one in messages))
            tasks.cancel_scope.cancel()

    async def _type(self, number: int) -> None:
        text = ASKED[number % len(ASKED)].format(n=number % self.size.watched)
        try:
            await ChannelMember(self.slack, USER, CHANNELS[number % len(CHANNELS)]).type(text)
        except TimeoutError:
            self.late += 1

    async def _go_on(self) -> None:
        done = 0
        while True:
            done += 1
            for number in range(self.size.watched):
                self.progress(number, done)
                await anyio.sleep(1 / self.size.watched)

    async def resume(self) -> float:
        """Return how long after its start the bot tells what happened while it was away."""
        captured = {"type": "Captured", "status": "True", "reason": "ManifestFound", "message": "x"}
        at = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
        self.progress(0, 9, conditions=[captured | at])
        began = time.monotonic()
        async with self.bot():
            await self.until(lambda: [one for one in self._lines() if "Captured" in one.text])
            return time.monotonic() - began

    def _lines(self) -> list[PostedMessage]:
        return [one for one in self.slack.workspace.messages if one.thread]

    @asynccontextmanager
    async def bot(self) -> AsyncIterator[None]:
        """Run the bot for the block, from its start on."""
        with self._process() as process:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, process)
                yield
                tasks.cancel_scope.cancel()
            self.peak = max(self.peak, _peak(process.pid))
            process.terminate()
            while process.poll() is None:  # noqa: ASYNC110 # it says goodbye to Slack here
                await anyio.sleep(0.05)

    async def _watch(self, process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None:  # noqa: ASYNC110 # its end wakes nobody
            await anyio.sleep(0.2)
        raise LabError(f"The bot ended: {tail(self.folder / 'log')}")

    @contextmanager
    def _process(self) -> Iterator[subprocess.Popen[bytes]]:
        program = Path(sys.executable).with_name("forensics-slackbot")
        options = [
            f"--config={self.folder / 'settings.yaml'}",
            f"--kubeconfig={self.folder / 'kubeconfig'}",
        ]
        tokens = {"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_APP_TOKEN": APP_TOKEN}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [program, *options],
                env={**os.environ, **tokens},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            stop(process)


def _checkpoint(number: int) -> JsonObject:
    # Without an incident each has a message of its own, which is the most work.
    where = {"forensics.orkaproj.io/slack-channel": CHANNELS[number % len(CHANNELS)]}
    return {
        "apiVersion": "forensics.orkaproj.io/v1alpha1",
        "kind": "PodCheckpoint",
        "metadata": {"name": f"case-{number}", "namespace": NAMESPACE, "annotations": where},
        "spec": {"pod": f"web-{number}", "namespace": SHOP},
    }


def _peak(pid: int) -> int:
    """Return the kernel's count of a process's highest resident set, in bytes: proc(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(found.split()[1]) * 1024


if __name__ == "__main__":
    main()
