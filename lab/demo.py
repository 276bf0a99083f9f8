"""`make demo`: an intruder's visit to a container becomes verified evidence.

First by hand, on the container's host; then as a PodCheckpoint that `kubectl` applies and the
operator carries out; then by a rule, of a pod that is deleted before anybody has looked. Runtime,
S3, kubectl, the operator and the collector are the real ones; the Kubernetes API is the loopback
one of `forensics_loopback`. Nothing of it stays but the report.

`python -m lab.demo [docker|containerd]` says whose container it is.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from anyio import to_thread

from collector.cli import PARTIAL
from forensics_core._internal.tasks import task_group
from forensics_core._internal.text import printable
from forensics_core.errors import ForensicsError
from lab.demo_cluster import DemoSetup, demo_cluster, install, operator, watch, write_request
from lab.demo_held import deleted_pod
from lab.demo_screen import run, tell, title
from lab.demo_shop import DOCKER, RUNTIMES, running_shop, runtime_named
from lab.seaweed import S3Identity, s3_server
from lab.tamper import VOLUME, tamper, tamper_off_disk

BUCKET = "cases"
REPORT = Path(__file__).parents[1] / ".lab/demo-report.html"
"""The report of the last demo."""
FOREIGN = ("AWS_", "KUBECONFIG", "FORENSICS_")
"""How variables begin that would lead the demo's commands to other people's servers."""
PROXIES = ("http_proxy", "https_proxy", "all_proxy")

_NOT_ROOT = (
    "You are not root, so nobody may look at the container from outside: its processes and "
    "connections will be missing, and its files come through Docker. Both captures say so."
)

DemoRunner = Callable[[], Awaitable[None]]
"""A story: what `run_story` runs."""


def main() -> int:
    """Tell the story of the runtime that was asked for; return the exit code."""
    return run_story(partial(_story, sys.argv[1] if sys.argv[1:] else DOCKER))


def run_story(story: DemoRunner) -> int:
    """Tell a story; return the exit code. Ctrl-C and SIGTERM end it, and nothing stays."""
    _clean_environment()
    try:
        return anyio.run(_run_until_signal, story)
    except ForensicsError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def _clean_environment() -> None:
    """Keep the user's own accounts, clusters and proxies out, and find the commands of .venv."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) or name.lower() in PROXIES:
            del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"


async def _run_until_signal(story: DemoRunner) -> int:
    told: list[signal.Signals] = []
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with task_group() as tasks:
            tasks.start_soon(_cancel_on_signal, signals, told, tasks.cancel_scope)
            await story()
            tasks.cancel_scope.cancel()
    return 128 + told[0] if told else 0


async def _cancel_on_signal(
    signals: AsyncIterator[signal.Signals], told: list[signal.Signals], scope: anyio.CancelScope
) -> None:
    """End the story at the first signal. While it cleans up, further ones change nothing."""
    told.append(await anext(signals))
    tell("Stopping, and cleaning up ...")
    scope.cancel()


async def _story(runtime: str) -> None:
    async with opening(runtime_named(runtime)) as demo:
        await _by_hand(demo)
        await _in_a_cluster(demo)


@asynccontextmanager
async def opening(runtime: str) -> AsyncIterator[DemoSetup]:
    """Start what a story needs, for the block, and let the intruder in."""
    title("Before the incident")
    tell(f"{RUNTIMES[runtime]} and a private S3 server; all of it goes at the end.")
    if not _root():
        tell(_NOT_ROOT)
    with TemporaryDirectory(prefix="lab-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        async with s3_server() as s3, running_shop(runtime, folder) as target:
            await s3.create_bucket(BUCKET, object_lock=True)
            tell(f"The container {target.name} runs a small shop. Then somebody breaks in.")
            await tamper(target.engine, target.bare_id)
            await tamper_off_disk(target.engine, target.bare_id)
            yield DemoSetup(target, s3, f"s3://{BUCKET}", folder)


def _root() -> bool:
    return os.geteuid() == 0


async def _by_hand(demo: DemoSetup) -> None:
    bundle = f"{demo.bucket}/forensics/inc-4711"
    title("1. One container, by hand")
    tell("Capture it, straight into a bucket that keeps every version, with a right to add only.")
    capture = ("collect", demo.target.address, "--to", demo.bucket, "--name", "inc-4711")
    writer = demo.s3.env(S3Identity.COLLECTOR) | demo.target.env
    await run("forensics", *capture, env=writer, fine=(0,) if _root() else (0, PARTIAL))
    reader = demo.s3.env(S3Identity.READER)
    tell("Read everything again, as somebody who may only read, and compare it with the manifest.")
    await run("forensics", "verify", bundle, env=reader)
    tell("What did the intruder change? Added, changed, deleted; hostile names are shown escaped.")
    await run("forensics", "ls", bundle, "--changes", env=reader)
    await _off_disk(demo, bundle, reader)


async def _off_disk(demo: DemoSetup, bundle: str, reader: dict[str, str]) -> None:
    """Show what no image of the container's disk has."""
    shop = demo.target.container
    there = (0,) if _root() else (0, 1)
    tell("Some of it never touched the disk: a line in /etc/hosts, and loot in memory.")
    await run("forensics", "cat", bundle, f"{shop}:/etc/hosts", env=reader, fine=there)
    await run("forensics", "cat", bundle, f"{shop}:/dev/shm/.loot", env=reader, fine=there)
    tell("A program runs though its file was deleted: the bytes are here, by its process.")
    await run("forensics", "ls", "-R", bundle, f"{shop}:(deleted)", env=reader, fine=there)
    tell("What was not captured is told: the volume, which nobody asked for.")
    await run("forensics", "ls", bundle, f"{shop}:{VOLUME}", env=reader, fine=(1,))
    await run("forensics", "ls", bundle, shop, env=reader)


async def _in_a_cluster(demo: DemoSetup) -> None:
    title("2. One pod, in a cluster")
    async with demo_cluster(demo) as cluster:
        await install(cluster, demo)
        tell("The operator starts, with these rights, a key to seal evidence, and a bucket for it.")
        async with operator(cluster, demo):
            request = await write_request(demo)
            tell("The container is a pod's here. Somebody on call asks for its evidence.")
            await run("cat", request.name, folder=demo.folder)
            await run(
                "kubectl", "apply", "-f", request.name, env=demo.kubectl_env, folder=demo.folder
            )
            tell("Operator, Job, collector, bucket, seal: the resource says how far it is.")
            status = await watch(cluster, demo)
            tell("The public key proves that this is what the operator sealed.")
            verify = ("verify", status["location"], "--key", "forensics.pub")
            await run("forensics", *verify, env=demo.s3.env(S3Identity.READER), folder=demo.folder)
            title("3. A pod that is deleted before anybody has looked")
            await deleted_pod(cluster, demo)
            await _report(demo, status["location"])


async def _report(demo: DemoSetup, bundle: str) -> None:
    """Make the page that an analyst opens first; it is all that stays of the demo."""
    title("4. What the evidence says")
    reader = demo.s3.env(S3Identity.READER)
    page = ("report", bundle, "--key", "forensics.pub", "-o", "report.html")
    await run("forensics", *page, env=reader, folder=demo.folder)
    asked = await anyio.run_process(
        ["forensics", "report", bundle, "-o", "json"], env={**os.environ, **reader}
    )
    findings = json.loads(asked.stdout)["findings"]
    tell(f"{len(findings)} findings, the first of them:")
    for each in findings[:3]:
        print(f"  {each['severity']}: {printable(each['summary'])}: {printable(each['subject'])}")
    await to_thread.run_sync(_keep, demo.folder / "report.html")
    tell(f"The page stays, as {REPORT}")


def _keep(page: Path) -> None:
    """Put the report where it stays, at once: another demo may end at the same time."""
    REPORT.parent.mkdir(exist_ok=True)
    Path(shutil.copy(page, REPORT.with_suffix(f".{os.getpid()}"))).replace(REPORT)


if __name__ == "__main__":
    sys.exit(main())
