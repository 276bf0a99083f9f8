"""A workspace, a cluster and a bot between them; people with and without rights."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import yaml

from forensics_core.api.capturerule_crd import capturerule_crd
from forensics_core.api.crd import crd
from forensics_core.kube.connection import connect
from forensics_loopback import AccessAttributes, LoopbackCluster, Policy, User, allow_all, rbac
from lab.slack.person import ChannelMember
from lab.slack.server import SlackServer, running_slack
from lab.slack.workspace import APP_TOKEN, BOT_TOKEN, SIGNING_SECRET, PostedMessage
from slackbot.main import serve
from slackbot.report_state import POSTED_ANNOTATION
from slackbot.settings import Settings

NAMESPACE = "forensics-system"
ROLES = (Path(__file__).parents[3] / "deploy" / "slackbot" / "rbac.yaml").read_text()
BOT = User("system:serviceaccount:forensics-operator:forensics-slackbot")
INCIDENT, OTHER = "C0INC", "C0OTHER"
CRDS = (crd(), capturerule_crd())
"""Made here: that reads source files, which nothing may do while a loop runs."""
HERE = {"forensics.orkaproj.io/slack-channel": INCIDENT}
"""Annotations of a checkpoint that is reported by itself, as it belongs to no incident."""
Document = dict[str, Any]


@dataclass
class Rights:
    """Who may what in the cluster: the bot by its manifests, the others by namespace."""

    capture: dict[str, set[str]] = field(default_factory=dict)
    """Users and groups, and the namespaces in which they may exec."""
    list_pods: dict[str, set[str]] = field(default_factory=dict)
    contain: dict[str, set[str]] = field(default_factory=dict)
    """Namespaces in which they may isolate, release and delete."""

    installed: Policy = allow_all
    """Decides about the bot: the roles of its manifests."""

    def __call__(self, user: User, asked: AccessAttributes) -> bool:
        if user == BOT:
            return self.installed(user, asked)
        granted = self.capture if asked.subresource == "exec" else self.list_pods
        if not asked.subresource and asked.verb in {"create", "patch", "delete"}:
            granted = self.contain
        return any(asked.namespace in granted.get(who, ()) for who in (user.name, *user.groups))


@dataclass
class SlackSetup:
    """Everything a test plays with."""

    cluster: LoopbackCluster
    slack: SlackServer
    rights: Rights
    kubeconfig: Path
    values: Document

    def settings(self, **changes: Any) -> Settings:
        """Return the bot's settings."""
        return Settings.model_validate(self.values | changes)

    @asynccontextmanager
    async def bot(self, **changes: Any) -> AsyncIterator[int]:
        """Run a bot for the block; yields its health port."""
        up = anyio.Event()
        ports: list[int] = []

        def started(port: int) -> None:
            ports.append(port)
            up.set()

        async with connect(self.kubeconfig) as cluster, anyio.create_task_group() as tasks:
            tasks.start_soon(partial(serve, cluster, self.settings(**changes), started=started))
            with anyio.fail_after(20):
                await up.wait()
            yield ports[0]
            tasks.cancel_scope.cancel()

    def person(self, user: str, channel: str = INCIDENT) -> ChannelMember:
        """Return somebody at a keyboard."""
        return ChannelMember(self.slack, user, channel)

    @property
    def alice(self) -> ChannelMember:
        """Who may capture in `shop` and `prod`."""
        return self.person("U0ALICE")

    @property
    def bob(self) -> ChannelMember:
        """The same, and speaks German."""
        return self.person("U0BOB")

    @property
    def carol(self) -> ChannelMember:
        """Who is a responder, but has no right in the cluster."""
        return self.person("U0CAROL")

    @property
    def mallory(self) -> ChannelMember:
        """Who is in the workspace, and nothing else."""
        return self.person("U0MALLORY")

    def checkpoints(self) -> list[Document]:
        """Return the PodCheckpoints."""
        return list(self.cluster.list("podcheckpoints", NAMESPACE))

    async def made(self, count: int = 1) -> list[Document]:
        """Wait until there are so many PodCheckpoints."""
        with anyio.fail_after(20):
            found = await self.cluster.until(
                "podcheckpoints", lambda items: len(list(items)) >= count, NAMESPACE
            )
        return list(found)

    def kubectl_create(self, name: str = "by-hand", /, **more: Any) -> Document:
        """Make a PodCheckpoint as somebody with kubectl would."""
        metadata = {"name": name, "namespace": NAMESPACE} | more.pop("metadata", {})
        spec = {"pod": "web-0", "namespace": "shop"} | more
        body = {
            "apiVersion": "forensics.orkaproj.io/v1alpha1",
            "kind": "PodCheckpoint",
            "metadata": metadata,
            "spec": spec,
        }
        return self.cluster.create(body)

    def progress(self, name: str, **status: Any) -> None:
        """Let the operator say something."""
        self.cluster.patch("podcheckpoints", name, {"status": status}, NAMESPACE)

    def finish(self, name: str, **more: Any) -> None:
        """Let a checkpoint come to its good end."""
        at = _now()
        self.progress(name, **(captured(name) | {"phase": "Complete", "completionTime": at} | more))

    async def posted(self, milestones: str) -> None:
        """Wait until a PodCheckpoint remembers that the thread has these."""

        def remembers(items: Iterable[Document]) -> bool:
            annotations = [item["metadata"].get("annotations", {}) for item in items]
            return milestones in [one.get(POSTED_ANNOTATION) for one in annotations]

        with anyio.fail_after(20):
            await self.cluster.until("podcheckpoints", remembers, NAMESPACE)

    async def shown(self, text: str, *, thread: bool = False) -> PostedMessage:
        """Wait for a message in the channel that says so."""
        workspace = self.slack.workspace

        def found() -> list[PostedMessage]:
            there = [one for one in workspace.messages if bool(one.thread) is thread]
            return [one for one in there if text in one.everything()]

        return (await workspace.until(found))[-1]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def running(attempt: int = 1, **progress: Any) -> Document:
    """Return the status of a checkpoint that is being captured."""
    known = {"artifactsDone": 2, "artifactsTotal": 9, "bytesRead": 5 * 2**20, "bytesStored": 2**20}
    return {
        "phase": "Capturing",
        "startTime": _now(),
        "attempt": attempt,
        "node": "node1",
        "active": 1,
        "progress": known | {"current": "app: filesystem"} | progress,
    }


def condition(kind: str, reason: str, message: str) -> Document:
    """Return a condition that is true."""
    return {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": _now(),
    }


def captured(name: str) -> Document:
    """Return the status of a checkpoint whose evidence is stored."""
    container = {"name": "app", "state": "Captured", "image": "registry.example/app:1"}
    return running() | {
        "phase": "Sealing",
        "active": 0,
        "succeeded": 1,
        "artifacts": 9,
        "bytes": 2**20,
        "size": "1.0 MiB",
        "sealed": True,
        "manifestSHA256": "ab" * 32,
        "location": f"s3://cases/forensics/{name}/",
        "containers": [container],
        "conditions": [condition("Captured", "ManifestFound", "The pod may be killed.")],
    }


def failed(reason: str, message: str) -> Document:
    """Return the status of a checkpoint that came to nothing."""
    at = _now()
    return {
        "phase": "Failed",
        "startTime": at,
        "completionTime": at,
        "conditions": [condition("Failed", reason, message)],
    }


@asynccontextmanager
async def open_scene(folder: Path) -> AsyncIterator[SlackSetup]:
    """Open the setup; no bot runs yet."""
    everywhere = {"shop", "prod"}
    rights = Rights(
        capture={"alice": everywhere, "bob": everywhere, "dave": {"shop"}},
        list_pods={"alice": everywhere, "bob": everywhere},
        contain={"alice": everywhere, "bob": everywhere},
    )
    namespaces = ("default", "shop", "prod", "secret", NAMESPACE)
    async with (
        running_slack() as slack,
        LoopbackCluster(namespaces=namespaces, policy=rights) as cluster,
    ):
        values = seat_people(slack)
        # Tests do not wait, and the machine may be busy.
        slack.rates, slack.acknowledge_seconds = None, 60.0
        for each in CRDS:
            cluster.create(each)
        for manifest in yaml.safe_load_all(ROLES):
            cluster.create(manifest)
        rights.installed = rbac(cluster.store)
        for namespace, pod in (("shop", "web-0"), ("shop", "web-1"), ("prod", "api-0")):
            cluster.seed_pod(pod, namespace)
        cluster.seed_pod("hidden-0", "secret")
        kubeconfig = await cluster.kubeconfig(folder / "kubeconfig", user=BOT)
        yield SlackSetup(cluster, slack, rights, kubeconfig, values)


def seat_people(slack: SlackServer) -> Document:
    """Fill the workspace, and return the settings of a bot that knows its people."""
    workspace = slack.workspace
    for user in ("U0ALICE", "U0CAROL", "U0MALLORY", "U0DAVE"):
        workspace.add_user(user)
    workspace.add_user("U0BOB", locale="de-DE")
    workspace.groups["S0RESP"] = ["U0ALICE", "U0BOB", "U0CAROL"]
    workspace.add_channel(INCIDENT)
    workspace.add_channel(OTHER)
    return _values(slack)


def _values(slack: SlackServer) -> Document:
    users = {"U0ALICE": "alice", "U0BOB": "bob", "U0CAROL": "carol", "U0MALLORY": "mallory"}
    return {
        "botToken": BOT_TOKEN,
        "appToken": APP_TOKEN,
        "signingSecret": SIGNING_SECRET,
        "apiUrl": slack.api_url,
        "channels": [{"id": INCIDENT, "incidents": ["INC-*"]}],
        "userGroups": ["S0RESP"],
        "identities": {user: {"username": name} for user, name in users.items()},
        "protected": ["prod*"],
        "cluster": "west",
        "editSeconds": 0.05,
        "updateSeconds": 0,
        "postSeconds": 0,
        "cacheSeconds": 0,
        "healthPort": 0,
    }


def innermost(error: BaseException) -> BaseException:
    """Return the first error that is no group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
