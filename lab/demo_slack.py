"""`make demo-slack`: from `/checkpoint` in a channel to verified evidence, in the browser.

The bot, the operator, the collector, Docker and S3 are the real ones. Slack is the stand-in of
`lab.slack`, shown by the page of `lab.slack_page`; the Kubernetes API is the loopback one.

`python -m lab.demo_slack --script` opens the page in a Chromium without a window, tells the whole
story there and ends; with `--pictures FOLDER` it leaves screenshots.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import yaml

from forensics_loopback import LoopbackCluster, User
from lab.demo import opening, run_story
from lab.demo_cluster import (
    OPERATOR,
    ROOT,
    SYSTEM,
    DemoSetup,
    container_pod,
    demo_cluster,
    install,
    operator,
)
from lab.demo_screen import run, tell, title
from lab.demo_shop import DOCKER
from lab.process import LabError, daemon, in_thread, wait_until_ready
from lab.seaweed import REGION, S3Identity
from lab.slack.server import SlackServer, running_slack
from lab.slack.workspace import APP_TOKEN, BOT_TOKEN
from lab.slack_page.browser import browser_tab
from lab.slack_page.demo import SlackDemo
from lab.slack_page.incident import IncidentDemo
from lab.slack_page.server import running_page
from lab.tamper import tamper

CHANNEL = "C0INC"
RESPONDERS = {"U0ALICE": "alice", "U0BOB": "bob"}
"""Members of the workspace who may use the bot, and who they are in the cluster."""
STRANGER = "U0MALLORY"
PROTECTED = "prod"
"""A namespace in which somebody else has to approve."""
MANY, PODS, VISITED = "shop", 5, 2
"""The namespace of an incident of several pods, how many there are, and where the intruder was."""
LABEL, INCIDENT = "web", "INC-4712"
ORDERS = "dd if=/dev/urandom of=/srv/orders.db bs=1M count=128 2>/dev/null"
"""Something to capture for some seconds, so that there is progress to see."""
BOT = User(f"system:serviceaccount:{OPERATOR}:forensics-slackbot", ("system:serviceaccounts",))


def main() -> int:
    """Run the demo; return the exit code. Ctrl-C and SIGTERM end it, and nothing stays."""
    parser = argparse.ArgumentParser(description="/checkpoint in a channel, in the browser")
    parser.add_argument("--script", action="store_true", help="tell the story, and end")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="leave screenshots there")
    parser.add_argument("--port", type=int, default=0, help="the page's; default: any free one")
    return run_story(partial(_story, parser.parse_args()))


async def _story(options: argparse.Namespace) -> None:
    async with opening(DOCKER) as demo, demo_cluster(demo) as cluster, running_slack() as slack:
        await demo.target.engine.exec(demo.target.bare_id, ORDERS)
        await install(cluster, demo)
        await _install_bot(cluster, demo)
        _add_people(slack)
        async with (
            _many_pods(cluster, demo),
            operator(cluster, demo),
            _bot(cluster, demo, slack),
            running_page(slack, CHANNEL, options.port) as url,
        ):
            if options.script:
                await _scripted(options, cluster, demo, url)
            else:
                await _by_hand(demo, url)


async def _by_hand(demo: DemoSetup, url: str) -> None:
    title("The channel")
    tell(f"Open {url} and type: /checkpoint {demo.target.name} -n default")
    tell(f"For {PODS} pods at once: /checkpoint -n {MANY} -l app={LABEL} --incident {INCIDENT}")
    tell(f"With -n {PROTECTED} somebody else has to approve: choose who you are. Ctrl-C ends it.")
    await anyio.sleep_forever()


async def _scripted(
    options: argparse.Namespace, cluster: LoopbackCluster, demo: DemoSetup, url: str
) -> None:
    title("The channel, in a browser without a window")
    async with browser_tab() as tab:
        story = SlackDemo(tab, demo.target.name, options.pictures)
        seen = await story.run(url)
        (sha256,) = _manifests(cluster)
        _check(seen.table, [sha256])
        many = IncidentDemo(story, MANY, f"app={LABEL}", INCIDENT, PODS)
        table = await many.run()
        others = _manifests(cluster) - {sha256}
        _check(table, others)
    print(f"Manifests in the incident's table: {len(others)}")
    print(f"Edits of the one message: {seen.edits}")
    print(f"Manifest in the table: sha256:{sha256}")


def _manifests(cluster: LoopbackCluster) -> set[str]:
    made = cluster.list("podcheckpoints", SYSTEM)
    return {one["status"]["manifestSHA256"] for one in made}


def _check(table: str, manifests: Collection[str]) -> None:
    missing = [one for one in manifests if one not in table]
    if missing:
        raise LabError(f"The table does not name the manifests' SHA-256s {missing}: {table}")


@asynccontextmanager
async def _many_pods(cluster: LoopbackCluster, demo: DemoSetup) -> AsyncIterator[None]:
    """Run the pods of the larger incident for the block."""
    tell(f"{PODS} more pods run in the namespace {MANY}; the intruder was in {VISITED} of them.")
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MANY}})
    async with AsyncExitStack() as stack:
        for number in range(PODS):
            another = demo.target.another(f"{demo.target.name}-{number}")
            container = await stack.enter_async_context(another)
            if number < VISITED:
                await tamper(demo.target.engine, container)
            pod = container_pod(demo.target.scheme + container)
            labels = {"labels": {"app": LABEL}}
            cluster.seed_pod(f"{LABEL}-{number}", MANY, metadata=labels, **pod)
        yield


async def _install_bot(cluster: LoopbackCluster, demo: DemoSetup) -> None:
    tell("The bot gets its rights, and those who may use it theirs.")
    files = ("-f", "deploy/slackbot/serviceaccount.yaml", "-f", "deploy/slackbot/rbac.yaml")
    await run("kubectl", "apply", *files, env=demo.kubectl_env, folder=ROOT)
    for each in _people_rights():
        cluster.create(each)
    pod = cluster.get("pods", demo.target.name, "default")
    cluster.seed_pod(demo.target.name, PROTECTED, spec=pod["spec"], status=pod["status"])


def _people_rights() -> list[dict[str, Any]]:
    """Return a protected namespace, and the right to see pods and run commands in them."""
    group, name = "rbac.authorization.k8s.io", "demo-responders"
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]},
    ]
    people = [{"kind": "User", "apiGroup": group, "name": one} for one in RESPONDERS.values()]
    kinds: dict[str, dict[str, Any]] = {
        "ClusterRole": {"rules": rules},
        "ClusterRoleBinding": {
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": people,
        },
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PROTECTED}}
    return [namespace] + [
        {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": name}} | content
        for kind, content in kinds.items()
    ]


def _add_people(slack: SlackServer) -> None:
    for user in (*RESPONDERS, STRANGER):
        slack.workspace.add_user(user)
    slack.workspace.add_channel(CHANNEL, name="incident-4711")


@asynccontextmanager
async def _bot(
    cluster: LoopbackCluster, demo: DemoSetup, slack: SlackServer
) -> AsyncIterator[None]:
    """Run the bot for the block, as a process of its own that comes as its account."""
    tell("The bot connects to Slack by a socket.")
    settings = demo.folder / "slackbot.yaml"
    await anyio.Path(settings).write_text(yaml.safe_dump(_settings(demo, slack)))
    config = await cluster.kubeconfig(demo.folder / "slackbot.kubeconfig", user=BOT)
    async with in_thread(_process(demo, slack, settings, config)):
        yield


def _settings(demo: DemoSetup, slack: SlackServer) -> dict[str, Any]:
    reader = {
        "endpoint": demo.s3.endpoint,
        "region": REGION,
        "publicKey": str(demo.folder / "forensics.pub"),
    }
    return {
        "apiUrl": slack.api_url,
        "channels": [{"id": CHANNEL, "incidents": ["INC-*"]}],
        "users": list(RESPONDERS),
        "identities": {user: {"username": name} for user, name in RESPONDERS.items()},
        "protected": [PROTECTED],
        "destination": demo.bucket,
        "cluster": "demo",
        "reader": reader,
        "healthPort": 0,
        "editSeconds": 1,  # even so, the capture takes seconds only
    }


@contextmanager
def _process(demo: DemoSetup, slack: SlackServer, settings: Path, config: Path) -> Iterator[None]:
    program = Path(sys.executable).with_name("forensics-slackbot")
    log = demo.folder / "slackbot.log"
    tokens = {"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_APP_TOKEN": APP_TOKEN}
    env = demo.s3.env(S3Identity.READER) | tokens

    def connected() -> bool:
        return any(call.method == "apps.connections.open" for call in slack.workspace.calls)

    options = (f"--config={settings}", f"--kubeconfig={config}")
    with daemon([program, *options], log, env=env, grace=10) as process:
        wait_until_ready("The bot", connected, process, log)
        yield


if __name__ == "__main__":
    sys.exit(main())
