"""The commands that talk to a cluster, against a loopback one with an operator and real S3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pexpect
import pytest
import yaml

from forensics_core.bundle.manifest import Capture, NotCaptured
from forensics_loopback import ADMIN, ContainerExit, Fault, RunningPod, User
from tests.integration.cli.conftest import Remote, invoke, invoke_json
from tests.integration.operator.stage import NAMESPACE

FORENSICS = str(Path(sys.executable).with_name("forensics"))
PLUGIN = str(Path(sys.executable).with_name("kubectl-forensics"))
GAP = NotCaptured(what="memory", container="app", reason="NotSupported", message="Not yet")


async def stay(pod: RunningPod) -> ContainerExit | None:
    """Capture until the end of time."""
    await anyio.sleep_forever()
    return None


def short(capture: Capture) -> Capture:
    """Say of each container that it is not whole."""
    change = {"result": "Partial", "reason": "ended \x1b[2J meanwhile"}
    containers = tuple(one.model_copy(update=change) for one in capture.containers)
    return capture.model_copy(update={"containers": containers})


def test_a_request_is_made_and_named(remote: Remote) -> None:
    code, out, err = invoke("checkpoint", "web-0")
    made = remote.checkpoints()
    assert (code, err, len(made)) == (0, "", 1)
    name = made[0]["metadata"]["name"]
    assert name.startswith("web-0-")
    assert out.splitlines() == [
        f"Created the checkpoint {name}",
        f"Follow it with: forensics watch {name}",
    ]
    assert made[0]["metadata"]["namespace"] == NAMESPACE
    assert made[0]["spec"]["namespace"] == "default"


def test_the_pod_is_looked_for_where_the_kubeconfig_points(remote: Remote) -> None:
    config = remote.come_as(ADMIN, namespace="shop")
    assert invoke("checkpoint", "pod/a", "--kubeconfig", config)[0] == 0
    assert invoke("checkpoint", "b", "-n", "mall", "--kubeconfig", config)[0] == 0
    asked = {made["spec"]["pod"]: made["spec"]["namespace"] for made in remote.checkpoints()}
    assert asked == {"a": "shop", "b": "mall"}


def test_the_object_is_printed_for_programs(remote: Remote) -> None:
    code, made, err = invoke_json("checkpoint", "web-0", "--incident", "INC-7", "--name", "one")
    assert (code, err) == (0, "")
    assert made["metadata"]["labels"] == {"forensics.orkaproj.io/incident": "INC-7"}
    code, text, _ = invoke("get", "one", "-o", "yaml")
    assert yaml.safe_load(text) == made


def test_waiting_ends_with_the_sealed_evidence(remote: Remote) -> None:
    with remote.operating():
        code, out, err = invoke("checkpoint", "web-0", "--wait", "--name", "one")
    status = remote.checkpoints()[0]["status"]
    assert code == 0, err
    created, captured, *facts = out.splitlines()
    assert created == "Created the checkpoint one"
    assert captured == "Captured: the pod may be killed."
    assert f"Location:  {status['location']}" in facts
    assert "Sealed:    yes" in facts
    assert f"Manifest:  sha256:{status['manifestSHA256']}" in facts
    assert err.startswith("Capturing: ")
    key = remote.folder / "key.pub"
    key.write_bytes(remote.stage.public_key)
    assert invoke("verify", status["location"], "--key", key)[0] == 0


def test_waiting_with_json_prints_one_document(remote: Remote) -> None:
    with remote.operating():
        code, done, err = invoke_json("checkpoint", "web-0", "--wait")
        again = invoke_json("watch", done["metadata"]["name"])
    assert (code, err) == (0, "")
    assert done["status"]["phase"] == "Complete"
    assert again == (0, done, "")


def test_something_missing_ends_with_4(remote: Remote) -> None:
    remote.stage.worker.gaps = (GAP,)
    remote.stage.worker.alter = short
    with remote.operating():
        code, out, err = invoke("checkpoint", "web-0", "--wait", "--name", "one")
    assert code == 4
    assert "Captured: the pod may be killed." in out
    assert "Container app: Partial: ended \\x1b[2J meanwhile" in out
    assert "Location: " in out
    assert err.splitlines()[-1].startswith("Error: The checkpoint 'one' is partial.")
    assert "app: memory (Not yet)" in err


def test_a_failure_ends_with_1_and_says_why(remote: Remote) -> None:
    with remote.operating():
        code, out, err = invoke("checkpoint", "nope", "--wait", "--name", "one")
    assert code == 1
    assert "may be killed" not in out
    assert err.splitlines()[-1] == (
        "Error: The checkpoint 'one' failed. NotFound: The specified Pod 'nope' was not found in "
        "the 'default' namespace. 'kubectl describe pcp one' shows what was tried; rely on nothing "
        "it stored."
    )


def test_waiting_has_a_limit_and_the_capture_none(remote: Remote) -> None:
    code, _, err = invoke("checkpoint", "web-0", "--wait", "--timeout", "0s", "--name", "one")
    assert code == 1
    assert "has not ended within 0 s. It goes on: `forensics watch one`" in err
    assert remote.checkpoints()[0]["spec"]["cancel"] is False


def test_a_limit_without_waiting_is_wrong_usage(remote: Remote) -> None:
    code, _, err = invoke("checkpoint", "web-0", "--timeout", "5m")
    assert (code, remote.checkpoints()) == (2, [])
    assert "--wait" in err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_an_interruption_ends_the_watching_only(
    remote: Remote, number: signal.Signals, code: int
) -> None:
    command = [FORENSICS, "checkpoint", "web-0", "--wait", "--name", "one"]
    with (
        remote.operating(),
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        remote.stage.worker.before = stay
        assert process.stderr
        assert process.stderr.readline().startswith("Capturing: ")
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert process.returncode == code
        assert "The capture goes on: `forensics watch one` shows it again" in err
        assert "`forensics cancel one` stops it" in err
        assert remote.checkpoints()[0]["spec"]["cancel"] is False


def test_a_terminal_shows_a_bar(remote: Remote) -> None:
    command = ["checkpoint", "web-0", "--wait", "--name", "one"]
    environment = {**os.environ, "TERM": "xterm"}
    with remote.operating():
        child = pexpect.spawn(
            PLUGIN, command, env=environment, encoding="utf-8", dimensions=(24, 100), timeout=30
        )
        child.expect(pexpect.EOF)
        child.close()
    assert child.exitstatus == 0
    assert "━" in child.before
    assert "Captured: the pod may be killed." in child.before
    assert "Sealed:    yes" in child.before


def test_a_terminal_tells_why_a_pod_has_to_wait(remote: Remote) -> None:
    changes = {"spec": {"nodeName": None}}
    remote.do(remote.stage.cluster.patch, "pods", "web-0", changes, "default")
    environment = {**os.environ, "TERM": "xterm"}
    with remote.operating():
        child = pexpect.spawn(
            FORENSICS,
            ["checkpoint", "web-0", "--wait", "--name", "one"],
            env=environment,
            encoding="utf-8",
            dimensions=(24, 200),
            timeout=30,
        )
        child.expect("has not been scheduled")
        child.sendintr()
        child.expect("The capture goes on")
        child.expect(pexpect.EOF)
        child.close()
    assert child.exitstatus == 130


def test_kubectl_finds_the_plugin(remote: Remote) -> None:
    kubectl = Path(sys.executable).with_name("kubectl")
    path = f"{kubectl.parent}:{os.environ['PATH']}"
    command = [str(kubectl), "forensics", "checkpoint", "web-0", "--name", "one"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Follow it with: kubectl forensics watch one"


def test_cancelling_keeps_what_there_is(remote: Remote) -> None:
    remote.stage.worker.before = stay
    with remote.operating():
        invoke("checkpoint", "web-0", "--name", "one")
        remote.do(remote.stage.until, lambda one: one.get("status", {}).get("active"), "one")
        code, out, _ = invoke("cancel", "one")
        assert (code, out) == (
            0,
            "The checkpoint one is told to stop. Follow it with: forensics watch one\n",
        )
        code, _, err = invoke("watch", "one")
    assert code == 1
    assert "Cancelled" in err
    assert invoke("cancel", "one")[1] == "The checkpoint one had ended before: Failed\n"
    assert invoke_json("cancel", "one")[1]["spec"]["cancel"] is True


def test_a_pod_is_cut_off_and_released_as_asked_for(remote: Remote) -> None:
    words = ("--isolate", "--after-capture", "delete-even-if-partial")
    with remote.operating():
        invoke("checkpoint", "web-0", "--name", "one", "--wait", *words)
        spec = remote.checkpoints()[0]["spec"]
        assert (spec["isolate"], spec["afterCapture"]) == (True, "DeleteEvenIfPartial")
        code, out, _ = invoke("release", "one")
        assert (code, out) == (
            0,
            "The pod of the checkpoint one is being released. See: forensics get one\n",
        )
    assert invoke_json("release", "one")[1]["spec"]["release"] is True
    assert "Isolated" in invoke("get", "one")[1]
    invoke("checkpoint", "web-0", "--name", "two")
    assert invoke("release", "two")[1] == "The checkpoint two has isolated nothing\n"


def test_the_list_can_be_narrowed(remote: Remote) -> None:
    assert invoke("list") == (0, "There are none.\n", "")
    invoke("checkpoint", "web-0", "--name", "one", "--incident", "INC-7")
    invoke("checkpoint", "api", "-n", "shop", "--name", "two")
    remote.do(
        remote.stage.cluster.patch,
        "podcheckpoints",
        "two",
        {"metadata": {"labels": {"team": "ir"}}},
        NAMESPACE,
    )
    heading, *rows = invoke("list")[1].splitlines()
    assert heading.split()[:3] == ["NAME", "NAMESPACE", "POD"]
    assert [row.split()[:3] for row in rows] == [
        ["one", "default", "web-0"],
        ["two", "shop", "api"],
    ]
    assert names("--incident", "INC-7") == ["one"]
    assert names("-n", "shop") == ["two"]
    assert names("-l", "team=ir") == ["two"]
    assert names("-l", "team=ir", "--incident", "INC-7") == []


def names(*options: str) -> list[str]:
    """Return the names that `list` prints."""
    code, data, _ = invoke_json("list", *options)
    assert code == 0
    return [item["metadata"]["name"] for item in data["items"]]


def test_get_shows_one_in_full(remote: Remote) -> None:
    with remote.operating():
        invoke("checkpoint", "web-0", "--wait", "--name", "one", "--reason", "odd \u202e traffic")
    code, out, err = invoke("get", "one")
    assert (code, err) == (0, "")
    assert "Reason:    odd \\u202e traffic" in out
    assert "Phase:     Complete" in out
    assert "Sealed:    yes" in out
    assert "\u202e" not in out


@pytest.mark.parametrize("command", ["get", "watch", "cancel", "release"])
def test_a_name_that_is_unknown(remote: Remote, command: str) -> None:
    code, out, err = invoke(command, "nope")
    assert (code, out.count("\n")) == (1, 0)
    assert "nope" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_dry_run_tells_what_would_be_captured(remote: Remote) -> None:
    code, out, err = invoke("checkpoint", "web-0", "--dry-run", "--to", "s3://cases")
    assert (code, err, remote.checkpoints()) == (0, "", [])
    assert "nothing was created" in out
    assert "Pod:       default/web-0 on node1" in out
    assert "To:        s3://cases" in out
    heading, row = out.splitlines()[-2:]
    assert heading.split() == ["CONTAINER", "KIND", "STATE", "ID"]
    assert row.split()[:3] == ["app", "regular", "running"]


def test_a_dry_run_knows_every_kind_of_container(remote: Remote) -> None:
    spec = {
        "initContainers": [{"name": "setup"}, {"name": "mesh", "restartPolicy": "Always"}],
        "containers": [{"name": "app"}],
        "ephemeralContainers": [{"name": "debug"}],
    }
    ended = {"name": "setup", "state": {"terminated": {"exitCode": 0}}, "containerID": "x://1"}
    changes = {"spec": spec, "status": {"initContainerStatuses": [ended]}}
    remote.do(remote.stage.cluster.patch, "pods", "web-0", changes, "default")
    code, data, _ = invoke_json("checkpoint", "web-0", "--dry-run")
    assert code == 0
    assert data["dryRun"] is True and data["podCheckpoint"]["spec"]["pod"] == "web-0"
    kinds = {one["name"]: (one["kind"], one["state"]) for one in data["pod"]["containers"]}
    assert kinds == {
        "setup": ("init", "terminated"),
        "mesh": ("sidecar", "not created"),
        "app": ("regular", "running"),
        "debug": ("ephemeral", "not created"),
    }
    assert len(invoke_json("checkpoint", "web-0", "--dry-run", "-c", "app")[1]["pod"]["containers"])


def test_a_dry_run_says_what_is_not_there(remote: Remote) -> None:
    code, _, err = invoke("checkpoint", "nope", "--dry-run")
    assert code == 1
    assert "The specified Pod 'nope' was not found in the 'default' namespace." in err
    code, _, err = invoke("checkpoint", "web-0", "--dry-run", "-c", "sidecar")
    assert code == 1
    assert "has no container sidecar. It has: app." in err


def denial(message: str) -> Fault:
    """Return a refusal as an admission policy makes it, for the next creation."""
    status = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": message}
    return Fault(verb="create", resource="podcheckpoints", status=403, body=json.dumps(status))


def test_an_admission_policy_is_heard_in_its_own_words(remote: Remote) -> None:
    words = "ada may not capture the pod web-0 in default"
    message = (
        f"x is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: {words}"
    )
    remote.do(remote.stage.cluster.faults.add, denial(message))
    code, _, err = invoke("checkpoint", "web-0")
    assert code == 1
    assert err == f"Error: {words}. The cluster's admission policy refused the request.\n"


def test_a_missing_right_is_one_line(remote: Remote) -> None:
    remote.do(remote.stage.cluster.enforce_rbac)
    code, _, err = invoke("list", "--kubeconfig", remote.come_as(User("ada")))
    assert code == 1
    assert err.startswith('Error: podcheckpoints.forensics.orkaproj.io is forbidden: User "ada"')
    assert len(err.splitlines()) == 1


def test_a_name_that_is_taken(remote: Remote) -> None:
    assert invoke("checkpoint", "web-0", "--name", "one")[0] == 0
    code, _, err = invoke("checkpoint", "web-0", "--name", "one")
    assert code == 1
    assert "already exists" in err


def test_a_cluster_without_kube_forensics(remote: Remote) -> None:
    crd = "podcheckpoints.forensics.orkaproj.io"
    remote.do(remote.stage.cluster.delete, "customresourcedefinitions", crd)
    for command in (("list",), ("checkpoint", "web-0"), ("watch", "one")):
        code, _, err = invoke(*command)
        assert code == 1
        assert "The cluster knows no PodCheckpoints. Install kube-forensics" in err


def test_a_namespace_that_is_not_there(remote: Remote) -> None:
    code, _, err = invoke("checkpoint", "web-0", "--checkpoint-namespace", "nowhere")
    assert code == 1
    assert "There is no namespace 'nowhere' for PodCheckpoints" in err


def test_the_namespace_can_come_from_the_environment(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORENSICS_NAMESPACE", "default")
    assert invoke("checkpoint", "web-0")[0] == 0
    assert remote.checkpoints()[0]["metadata"]["namespace"] == "default"


def test_no_cluster_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    code, _, err = invoke("list")
    assert code == 1
    assert err.startswith("Error: Nothing says which cluster to talk to. Set KUBECONFIG")


def test_a_context_that_is_unknown(remote: Remote) -> None:
    code, _, err = invoke("list", "--context", "elsewhere")
    assert code == 1
    assert "elsewhere" in err
    assert invoke("list", "--context", "loopback")[0] == 0


def test_without_the_client_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [each for each in sys.modules if each.startswith("forensics_core.kube")]:
        monkeypatch.delitem(sys.modules, name)
    missing: Any = None
    monkeypatch.setitem(sys.modules, "kubernetes_asyncio", missing)
    monkeypatch.setitem(sys.modules, "kubernetes_asyncio.client", missing)
    code, _, err = invoke("list")
    assert code == 1
    assert "pip install '.[operator]'" in err
