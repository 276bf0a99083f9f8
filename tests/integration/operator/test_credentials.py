"""Collectors get credentials for one bundle and one capture where a token service gives them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from collector.job.termination_message import of_error
from forensics_core.errors import CredentialsExpired
from forensics_core.operator.settings import CollectorCredentials, Settings
from forensics_loopback import ContainerExit, RunningPod
from tests.integration.operator.stage import NAMESPACE, Document, Stage, condition, decoded
from tests.integration.storage.s3.sts_server import ROLE, Sts, sts_server


@pytest.fixture
async def sts() -> AsyncIterator[Sts]:
    async with sts_server() as server:
        yield server


def assuming(stage: Stage, sts: Sts, **more: Any) -> Settings:
    """Return the stage's settings with a role in place of a Secret."""
    (rule,) = stage.settings.destinations
    given = {"assumeRole": ROLE, "stsEndpoint": sts.url, **more}
    credentials = CollectorCredentials.model_validate(given)
    changed = rule.model_copy(update={"credentials": credentials})
    return stage.settings.model_copy(update={"destinations": (changed,)})


async def order_of(stage: Stage, settings: Settings) -> tuple[Document, Document]:
    """Return the Secret and the Job of a capture, as they were when its collector began."""
    seen: list[Document] = []

    async def look(pod: Any) -> None:
        name = stage.get()["status"]["jobName"]
        seen.append(stage.cluster.get("secrets", name, NAMESPACE))
        seen.append(stage.cluster.get("jobs", name, NAMESPACE))

    stage.worker.before = look
    async with stage.operating(settings):
        status = await stage.finished()
    assert status["phase"] == "Complete", status["conditions"]
    secret, job = seen
    return secret, job


async def test_they_lie_beside_the_order_and_go_with_it(stage: Stage, sts: Sts) -> None:
    stage.request()
    secret, job = await order_of(stage, assuming(stage, sts))
    assert "aws_session_token = scoped" in decoded(secret, "credentials").decode()
    container = job["spec"]["template"]["spec"]["containers"][0]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert environment["AWS_SHARED_CREDENTIALS_FILE"] == "/run/forensics/order/credentials"
    assert "envFrom" not in container
    (asked,) = sts.asked
    status = stage.get()["status"]
    bucket_and_key = status["location"].removeprefix("s3://")
    resource = json.loads(asked["Policy"])["Statement"][0]["Resource"]
    assert resource == f"arn:aws:s3:::{bucket_and_key}*"
    assert asked["DurationSeconds"] == str(3600 + 300 + 120)
    names = [one["metadata"]["name"] for one in stage.cluster.list("secrets", NAMESPACE)]
    assert status["jobName"] not in names


async def test_a_capture_ends_before_the_credentials_that_it_could_get(
    stage: Stage, sts: Sts
) -> None:
    sts.longest = 3600
    stage.request()
    secret, _ = await order_of(stage, assuming(stage, sts))
    order = json.loads(decoded(secret, "order.json"))
    assert 3600 - 300 - 120 - 60 <= order["activeDeadlineSeconds"] <= 3600 - 300 - 120
    (told,) = [one for one in stage.cluster.list("events") if one["reason"] == "LessTime"]
    assert (told["type"], ROLE in (told.get("note") or told["message"])) == ("Warning", True)


async def test_an_attempt_whose_session_ended_is_followed_by_one_with_a_new_session(
    stage: Stage, sts: Sts
) -> None:
    async def expire(pod: RunningPod) -> ContainerExit | None:
        if len(stage.worker.runs) > 1:
            return None
        return ContainerExit(1, of_error(CredentialsExpired("The session has expired")).decode())

    stage.worker.before = expire
    stage.request()
    async with stage.operating(assuming(stage, sts)):
        status = await stage.finished()
    assert (status["phase"], status["attempt"], len(sts.asked)) == ("Complete", 2, 2)
    assert sts.asked[0]["Policy"] != sts.asked[1]["Policy"]


async def test_a_role_that_does_not_trust_the_operator_ends_the_request(
    stage: Stage, sts: Sts
) -> None:
    other = assuming(stage, sts, assumeRole="arn:aws:iam::111122223333:role/other")
    stage.request()
    async with stage.operating(other):
        status = await stage.finished()
    failed = condition(status, "Failed")
    assert (failed["reason"], stage.worker.runs) == ("AccessDenied", [])
    assert "role/other cannot be assumed" in failed["message"]


async def test_a_token_service_that_is_away_is_asked_again(stage: Stage, sts: Sts) -> None:
    sts.away = True
    stage.request()
    async with stage.operating(assuming(stage, sts)):
        await stage.until(
            lambda one: (
                condition(one.get("status", {}), "Captured").get("reason")
                == "DestinationUnreachable"
            )
        )
        sts.away = False
        assert (await stage.finished())["phase"] == "Complete"
