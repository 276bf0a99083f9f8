"""The Job, field by field where it matters, and what its end means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from collector.job.job import JobSettings
from forensics_core.operator.attempt.jobs import build_job, build_thaw_job
from forensics_core.operator.attempt.pods import job_finished, outcome
from forensics_core.operator.settings import (
    JOB_MARGIN,
    CollectorCredentials,
    CollectorSettings,
    DestinationRule,
    Timings,
)
from tests.unit.operator.samples import JOB, UID, checkpoint, collector_pod, ended, job


def build(credentials: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    rule = DestinationRule(
        prefix="s3://cases",
        endpoint="https://s3.example",
        expected_bucket_owner="123456789012",
        credentials=CollectorCredentials.model_validate(credentials or {"secret": "collector-s3"}),
    )
    collector = CollectorSettings(image="kube-forensics:1", priority_class="low", rate="50MiB")
    return build_job(checkpoint("Capturing", spec=spec), rule, collector, 600)


def pod_spec(built: dict[str, Any]) -> Any:
    return built["spec"]["template"]["spec"]


def env_of(built: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in pod_spec(built)["containers"][0]["env"]}


def test_one_attempt_is_one_pod_on_the_pods_node() -> None:
    built = build()
    assert built["metadata"]["name"] == JOB
    assert built["spec"]["backoffLimit"] == 0
    assert built["spec"]["activeDeadlineSeconds"] == 600 + 300 + JOB_MARGIN
    spec = pod_spec(built)
    assert "nodeName" not in spec
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["node1"]
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["restartPolicy"] == "Never"
    assert spec["priorityClassName"] == "low"


@pytest.mark.parametrize(("artifacts", "seen"), [(["processes"], False), (["memory"], True)])
def test_the_nodes_processes_are_seen_where_memory_is_asked_for(
    artifacts: list[str], seen: bool
) -> None:
    """Threads are stopped by their numbers."""
    assert pod_spec(build(artifacts=artifacts)).get("hostPID", False) is seen


def test_the_workload_comes_first() -> None:
    built = build()
    assert pod_spec(built)["containers"][0]["resources"]["requests"]["cpu"] == "10m"
    assert env_of(built)["FORENSICS_GENTLE"] == "true"
    assert env_of(built)["FORENSICS_RATE"] == "50MiB"


def test_it_goes_with_its_checkpoint() -> None:
    owner = build()["metadata"]["ownerReferences"][0]
    assert (owner["uid"], owner["controller"]) == (UID, True)


def test_it_has_no_key_to_the_cluster_and_five_capabilities() -> None:
    spec = pod_spec(build())
    assert spec["automountServiceAccountToken"] is False
    security = spec["containers"][0]["securityContext"]
    assert security["privileged"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {
        "drop": ["ALL"],
        "add": ["SYS_PTRACE", "DAC_READ_SEARCH", "SYS_ADMIN", "FOWNER", "SYS_CHROOT"],
    }
    paths = [volume["hostPath"]["path"] for volume in spec["volumes"] if "hostPath" in volume]
    assert paths == ["/proc"]


def test_credentials_come_from_a_secret() -> None:
    built = build()
    assert pod_spec(built)["containers"][0]["envFrom"] == [{"secretRef": {"name": "collector-s3"}}]
    assert env_of(built)["AWS_ENDPOINT_URL_S3"] == "https://s3.example"
    assert env_of(built)["FORENSICS_EXPECTED_BUCKET_OWNER"] == "123456789012"
    assert env_of(built)["AWS_EC2_METADATA_DISABLED"] == "true"
    assert env_of(built)["FORENSICS_NODE_NAME"] == "node1"


def test_a_secrets_credentials_file_is_mounted_whole_so_that_its_renewal_arrives() -> None:
    built = build({"secret": "collector-s3"})
    spec = pod_spec(built)
    volume = next(one for one in spec["volumes"] if one["name"] == "credentials")
    assert volume["secret"]["secretName"] == "collector-s3"
    mounts = {one["name"]: one for one in spec["containers"][0]["volumeMounts"]}
    assert "subPath" not in mounts["credentials"], "the kubelet renews no part of a volume"
    folder = mounts["credentials"]["mountPath"]
    assert env_of(built)["AWS_SHARED_CREDENTIALS_FILE"] == f"{folder}/credentials"
    other = build({"node": True})
    assert "AWS_SHARED_CREDENTIALS_FILE" not in env_of(other)


def test_the_collector_reads_the_settings_that_its_job_has() -> None:
    rule = DestinationRule(prefix="s3://cases", credentials=CollectorCredentials(node=True))
    settings = CollectorSettings(image="kube-forensics:1", concurrent_containers=5, rate="3MiB")
    read = JobSettings.from_environ(env_of(build_job(checkpoint("Capturing"), rule, settings, 600)))
    assert (read.at_once, read.rate) == (5, 3 * 1024**2)


def test_what_is_said_of_a_store_reaches_the_collector() -> None:
    rule = DestinationRule(
        prefix="s3://cases",
        checksum="md5",
        acl=True,
        addressing_style="virtual",
        part_size="64MiB",
        ca_config_map="minio-ca",
        credentials=CollectorCredentials(secret="collector-s3"),  # noqa: S106 - a name
    )
    built = build_job(checkpoint("Capturing"), rule, CollectorSettings(), 600)
    env, spec = env_of(built), pod_spec(built)
    assert {name: value for name, value in env.items() if name.startswith("FORENSICS_S3_")} == {
        "FORENSICS_S3_CHECKSUM": "md5",
        "FORENSICS_S3_ACL": "true",
        "FORENSICS_S3_ADDRESSING_STYLE": "virtual",
        "FORENSICS_S3_PART_SIZE": "64MiB",
    }
    mounted = {one["name"]: one["mountPath"] for one in spec["containers"][0]["volumeMounts"]}
    assert env["AWS_CA_BUNDLE"] == f"{mounted['ca']}/ca.crt"
    assert {"name": "ca", "configMap": {"name": "minio-ca"}} in spec["volumes"]
    access = rule.operator_access(Timings())
    assert (access.checksum, access.acl, access.part_size) == ("md5", True, 64 * 1024 * 1024)


def test_nothing_is_said_of_a_store_that_has_no_settings() -> None:
    assert not {name for name in env_of(build()) if name.startswith("FORENSICS_S3_")}
    assert "AWS_CA_BUNDLE" not in env_of(build())


def test_credentials_come_from_a_service_account_whose_token_only_the_cloud_takes() -> None:
    built = build({"serviceAccount": "collector", "roleArn": "arn:aws:iam::1:role/c"})
    spec = pod_spec(built)
    assert spec["serviceAccountName"] == "collector"
    token = next(volume for volume in spec["volumes"] if volume["name"] == "token")
    audience = token["projected"]["sources"][0]["serviceAccountToken"]["audience"]
    assert audience == "sts.amazonaws.com"
    assert env_of(built)["AWS_ROLE_ARN"] == "arn:aws:iam::1:role/c"


def test_credentials_come_from_the_nodes_own_role() -> None:
    built = build({"node": True})
    assert pod_spec(built)["hostNetwork"] is True
    assert "AWS_EC2_METADATA_DISABLED" not in env_of(built)


def test_the_runtimes_socket_is_named_to_every_job_if_the_settings_name_it() -> None:
    rule = DestinationRule(prefix="s3://cases", credentials=CollectorCredentials(node=True))
    two = CollectorSettings(runtime_endpoint="unix:///run/crio/crio.sock")
    capturing = checkpoint("Capturing")
    for built in (
        build_job(capturing, rule, two, 600),
        build_thaw_job(capturing, ["cri-o://a"], two),
    ):
        assert env_of(built)["FORENSICS_RUNTIME_ENDPOINT"] == "unix:///run/crio/crio.sock"
    assert "FORENSICS_RUNTIME_ENDPOINT" not in env_of(build())


@pytest.mark.parametrize("condition", ["Complete", "Failed"])
def test_a_job_is_over_when_a_condition_says_so(condition: str) -> None:
    assert job_finished(job(condition))
    assert not job_finished(job())


HINT = json.dumps({"reason": "AccessDenied", "message": "The bucket says no", "retry": False})
HOSTILE = json.dumps({"reason": "x" * 500 + " \n<b>", "message": "y" * 5000})

ENDINGS: list[tuple[Any, Any, str, bool]] = [
    (job(), collector_pod(ended(137, "OOMKilled")), "OOMKilled", True),
    (job(), collector_pod(ended(0, "Completed")), "NoManifest", True),
    (job(), collector_pod(ended(1, "Error", "plain words")), "Error", True),
    (job(), collector_pod(ended(1, "Error", "[1]")), "Error", True),
    (job(), collector_pod(ended(1, "Error", HINT)), "AccessDenied", False),
    (job(), collector_pod(phase="Failed", reason="Evicted", message="disk"), "Evicted", True),
    (job("Failed"), None, "BackoffLimitExceeded", True),
    (job(), None, "WorkerLost", True),
    (None, None, "WorkerLost", True),
]


@pytest.mark.parametrize(("its_job", "its_worker", "reason", "retry"), ENDINGS)
def test_why_an_attempt_left_nothing(
    its_job: Any, its_worker: Any, reason: str, retry: bool
) -> None:
    ending = outcome(its_job, its_worker)
    assert (ending.reason, ending.retry) == (reason, retry)
    assert ending.message


def test_a_hostile_last_word_is_cut_to_size() -> None:
    ending = outcome(job(), collector_pod(ended(1, "Error", HOSTILE)))
    assert ending.reason == "x" * 60
    assert len(ending.message) <= 1024


def test_the_thaw_job_needs_neither_order_nor_credentials() -> None:
    built = build_thaw_job(checkpoint("Capturing"), ["containerd://abc"], CollectorSettings())
    assert "ownerReferences" not in built["metadata"]
    assert len(built["metadata"]["name"]) <= 63
    assert built["spec"]["ttlSecondsAfterFinished"] == 300
    spec = pod_spec(built)
    assert spec["containers"][0]["command"] == ["forensics", "thaw", "containerd://abc"]
    assert "envFrom" not in spec["containers"][0]
    assert [volume["name"] for volume in spec["volumes"]] == ["host-proc"]
