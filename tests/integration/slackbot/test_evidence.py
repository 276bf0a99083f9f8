"""The real operator behind the bot, and real S3: progress, table, links, verification."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import VerificationError
from forensics_core.storage.locate import S3Location, parse_location
from forensics_core.storage.s3.client import S3Access, s3_client
from forensics_loopback import ContainerExit, RunningPod
from lab.seaweed import S3Identity, S3Server, collector_policy
from lab.slack.server import running_slack
from slackbot.evidence import EvidenceReader
from slackbot.settings import ReaderSettings
from tests.bundles import write_bundle
from tests.integration.operator.stage import Stage, open_stage
from tests.integration.slackbot.setup import NAMESPACE, Rights, SlackSetup, seat_people


@pytest.fixture
def admin(s3: S3Server, use_env: Callable[[Mapping[str, str]], None]) -> S3Access:
    env = s3.env(S3Identity.ADMIN)
    use_env(env)
    return S3Access(
        endpoint_url=s3.endpoint,
        region="us-east-1",
        access_key_id=env["AWS_ACCESS_KEY_ID"],
        secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )


@asynccontextmanager
async def stage_in(bucket: str, access: S3Access, folder: Path) -> AsyncIterator[Stage]:
    async with open_stage(bucket, access, folder) as opened:
        (folder / "key.pub").write_bytes(opened.public_key)
        yield opened


@pytest.fixture
async def stage(admin: S3Access, bucket: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage_in(bucket, admin, tmp_path) as opened:
        yield opened


@pytest.fixture
async def versioned_stage(
    admin: S3Access, locked_bucket: str, tmp_path: Path
) -> AsyncIterator[Stage]:
    async with stage_in(locked_bucket, admin, tmp_path) as opened:
        yield opened


@asynccontextmanager
async def scene_on(stage: Stage, folder: Path) -> AsyncIterator[SlackSetup]:
    """Seat the people around the operator's stage; everybody may do everything there."""
    async with running_slack() as slack:
        values = seat_people(slack)
        slack.rates, slack.acknowledge_seconds = None, 60.0
        reader = {"endpoint": stage.access.endpoint_url, "publicKey": str(folder / "key.pub")}
        values |= {"reader": reader, "defaultNamespace": "default"}
        yield SlackSetup(stage.cluster, slack, Rights(), stage.kubeconfig, values)


async def test_reports_a_real_capture_and_verifies_it(stage: Stage, tmp_path: Path) -> None:
    async with scene_on(stage, tmp_path) as setup, setup.bot(), stage.operating():
        await setup.alice.ask("web-0")
        end = await setup.shown("The bundle is sealed.", thread=True)
        (root,) = setup.slack.workspace.roots()
        assert "containers/app/inspect.json" in end.everything()
        assert set(root.buttons()) == {"download", "verify", "retry"}

        answer = await setup.alice.click(root, "download")
        assert "good for 5 minutes" in answer.text
        links = [block for block in answer.blocks if "accessory" in block]
        inspect = next(one for one in links if "inspect.json" in one["text"]["text"])
        async with (
            aiohttp.ClientSession() as session,
            session.get(inspect["accessory"]["url"]) as response,
        ):
            assert await response.read() == b'{"Id": "x"}'

        await setup.alice.click(root, "verify")
        verified = await setup.shown("Verified: all", thread=True)
    assert "Seal: valid" in verified.everything()
    sent = str([one.blocks for one in setup.slack.workspace.messages])
    assert "X-Amz-Signature" not in sent, "an address is shown to one person only"


async def test_does_not_capture_a_pod_replaced_after_the_approval(
    stage: Stage, tmp_path: Path
) -> None:
    async with scene_on(stage, tmp_path) as setup, setup.bot(protected=["default"]):
        await setup.alice.ask("web-0")
        await setup.bob.click(await setup.shown("Approval needed"), "approve")
        await setup.made()
        setup.cluster.delete("pods", "web-0", "default", gracePeriodSeconds="0")
        setup.cluster.seed_pod("web-0", "default")
        async with stage.operating():
            line = await setup.shown("Failed: PodReplaced", thread=True)
    assert "was asked for" in line.text
    assert stage.cluster.list("jobs", NAMESPACE) == []


async def test_verification_names_the_tampered_object(stage: Stage, tmp_path: Path) -> None:
    async with scene_on(stage, tmp_path) as setup, setup.bot(), stage.operating():
        await setup.alice.ask("web-0")
        await setup.shown("The bundle is sealed.", thread=True)
        (made,) = await setup.made()
        await tamper(stage, made)
        await setup.alice.ask(f"verify {made['metadata']['name']}")
        line = await setup.shown("does NOT verify", thread=True)
    assert "inspect.json" in line.text


async def tamper(
    stage: Stage, made: dict[str, Any], name: str = "containers/app/inspect.json"
) -> None:
    """Overwrite an object, as somebody with too many rights could."""
    place = parse_location(made["status"]["location"])
    assert isinstance(place, S3Location)
    async with s3_client(stage.access) as client:
        await client.put_object(Bucket=place.bucket, Key=place.key(name), Body=b"{}")


async def test_links_lead_to_the_sealed_version(versioned_stage: Stage, tmp_path: Path) -> None:
    """By a stolen key that may only add."""
    stage = versioned_stage
    names = ("containers/app/inspect.json", "SHA256SUMS", "context/pod.yaml", "manifest.json")
    async with scene_on(stage, tmp_path) as setup, setup.bot(), stage.operating():
        await setup.alice.ask("web-0")
        await setup.shown("The bundle is sealed.", thread=True)
        (made,) = await setup.made()
        for name in names:
            await tamper(stage, made, name)
        (root,) = setup.slack.workspace.roots()
        answer = await setup.alice.click(root, "download")
        links = [block for block in answer.blocks if "accessory" in block]
        async with aiohttp.ClientSession() as session:
            for name in names[:-1]:
                link = next(one for one in links if name in one["text"]["text"])
                async with session.get(link["accessory"]["url"]) as response:
                    assert response.status == 200
                    assert await response.read() != b"{}", name
        await setup.alice.click(root, "verify")
        await setup.shown("Verified: all", thread=True)


async def test_refuses_links_when_the_manifest_was_replaced(stage: Stage, tmp_path: Path) -> None:
    async with scene_on(stage, tmp_path) as setup, setup.bot(), stage.operating():
        await setup.alice.ask("web-0")
        await setup.shown("The bundle is sealed.", thread=True)
        (made,) = await setup.made()
        setup.progress(made["metadata"]["name"], manifestSHA256="0" * 64)
        (root,) = setup.slack.workspace.roots()
        answer = await setup.alice.click(root, "download")
        await setup.alice.click(root, "verify")
        line = await setup.shown("does NOT verify", thread=True)
    assert "not " + "0" * 64 in answer.text
    assert "OtherEvidence: manifest.json" in line.text


async def test_missing_evidence_is_an_error_message(stage: Stage, tmp_path: Path) -> None:
    async with scene_on(stage, tmp_path) as setup, setup.bot(), stage.operating():
        await setup.alice.ask("web-0")
        await setup.shown("The bundle is sealed.", thread=True)
        (made,) = await setup.made()
        gone = made["status"]["location"].rstrip("/") + "-gone/"
        setup.progress(made["metadata"]["name"], location=gone)
        (root,) = setup.slack.workspace.roots()
        download = await setup.alice.click(root, "download")
        first = await setup.alice.click(root, "verify")
        verify = await setup.alice.next_ephemeral(setup.alice.ephemerals().index(first) + 1)
    assert "cannot be read" in download.text
    assert "cannot be read" in verify.text


async def test_the_table_lists_containers_without_a_manifest(stage: Stage, tmp_path: Path) -> None:
    async with scene_on(stage, tmp_path) as setup, setup.bot():
        setup.kubectl_create(incident="INC-1")
        setup.finish("by-hand", location=f"s3://{stage.bucket}/nothing/")
        end = await setup.shown("The bundle is sealed.", thread=True)
    assert "app Captured" in end.everything()


async def test_does_not_read_a_manifest_that_is_too_large(stage: Stage, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        setup = await stack.enter_async_context(scene_on(stage, tmp_path))
        reader = setup.values["reader"] | {"manifestBytes": 100}
        await stack.enter_async_context(setup.bot(reader=reader))
        await stack.enter_async_context(stage.operating())
        await setup.alice.ask("web-0")
        end = await setup.shown("The bundle is sealed.", thread=True)
        (root,) = setup.slack.workspace.roots()
        answer = await setup.alice.click(root, "download")
    assert "app Captured" in end.everything()
    assert "cannot be read" in answer.text


async def test_verification_without_a_channel_is_shown_to_the_user_alone(
    stage: Stage, tmp_path: Path
) -> None:
    async with scene_on(stage, tmp_path) as setup, setup.bot(), stage.operating():
        setup.kubectl_create(namespace="default")
        await stage.finished("by-hand")
        first = await setup.alice.ask("verify by-hand")
        verified = await setup.alice.next_ephemeral(setup.alice.ephemerals().index(first) + 1)
    assert "Verifying by-hand" in first.text
    assert "Verified: all" in verified.text
    assert setup.slack.workspace.messages == []


async def test_verifies_one_bundle_at_a_time(stage: Stage, tmp_path: Path) -> None:
    async with scene_on(stage, tmp_path) as setup, setup.bot(), stage.operating():
        setup.kubectl_create(namespace="default")
        await stage.finished("by-hand")
        for _ in range(3):
            await setup.alice.type("verify by-hand")
        workspace = setup.slack.workspace
        await workspace.until(lambda: len(setup.alice.ephemerals()) == 6)
    said = [one.text for one in setup.alice.ephemerals()]
    assert any("Other evidence is being verified" in text for text in said)
    assert any("Verified: all" in text for text in said)


async def test_cancels_a_real_capture(stage: Stage, tmp_path: Path) -> None:
    started = anyio.Event()

    async def forever(pod: RunningPod) -> ContainerExit | None:
        started.set()
        await anyio.sleep_forever()
        return None

    stage.worker.before = forever
    async with scene_on(stage, tmp_path) as setup, setup.bot(), stage.operating():
        await setup.alice.ask("web-0")
        await started.wait()
        root = await setup.shown("attempt 1 on node node1")
        await setup.alice.click(root, "cancel")
        await setup.shown("Failed: Cancelled", thread=True)


async def test_links_lead_to_the_sealed_version_without_the_right_to_list_versions(
    s3: S3Server, locked_bucket: str, use_env: Callable[[Mapping[str, str]], None]
) -> None:
    use_env(s3.env(S3Identity.ADMIN))
    location = f"s3://{locked_bucket}/cases/one/"
    sealable = await write_bundle(location.rstrip("/"))
    rules = collector_policy(locked_bucket)
    denied = {
        "Effect": "Deny",
        "Principal": {"AWS": f"arn:aws:iam::000000000000:user/{S3Identity.READER}"},
        "Action": ["s3:ListBucketVersions"],
        "Resource": [f"arn:aws:s3:::{locked_bucket}"],
    }
    rules["Statement"].append(denied)
    async with s3.client() as client:
        await client.put_bucket_policy(Bucket=locked_bucket, Policy=json.dumps(rules))
    use_env(s3.env(S3Identity.READER))
    bot = EvidenceReader(ReaderSettings(endpoint=s3.endpoint))
    status = {"location": location, "manifestSHA256": sealable.manifest_sha256}
    checkpoint = PodCheckpoint.parse({"spec": {"pod": "web-0"}, "status": status})
    links = await bot.links(checkpoint)
    assert len(links) == 5
    assert all("versionId=" in link.url for link in links)
    async with s3.client() as client:
        await client.put_object(Bucket=locked_bucket, Key="cases/one/context/pod.yaml", Body=b"{}")
    with pytest.raises(VerificationError, match=r"context/pod\.yaml"):
        await bot.links(checkpoint)
