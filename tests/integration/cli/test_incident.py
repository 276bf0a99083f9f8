"""Many pods of one incident by the command line, against a loopback cluster with real S3."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pexpect
import pytest
import yaml

from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import NotCaptured
from forensics_core.seals import generate_key
from forensics_loopback import ADMIN, ContainerExit, Fault, RunningPod
from tests.integration.cli.conftest import Remote, invoke, invoke_json
from tests.integration.operator.stage import NAMESPACE
from tests.unit.readers.evidence import change

FORENSICS = str(Path(sys.executable).with_name("forensics"))
CHECKPOINT = ("incident", "INC-7", "checkpoint", "-n", "shop")
WEB = (*CHECKPOINT, "-l", "app=web")
TRACES = {
    ArtifactKind.DIFF: json.dumps({"changes": [change("/tmp/<miner>", mode="0755")]}).encode(),
    ArtifactKind.PROCESSES: b'{"processes": []}',
    ArtifactKind.NETWORK: b'{"namespaces":[\n]}\n',
}
GAP = NotCaptured(what="memory", container="app", reason="NotSupported", message="Not yet")


def seed(remote: Remote, *names: str, **more: Any) -> None:
    """Add pods with the label app=web to the namespace `shop`."""

    def add() -> None:
        for name in names:
            remote.stage.cluster.seed_pod(
                name, "shop", metadata={"labels": {"app": "web"}}, spec=more.get("spec", {})
            )

    remote.do(add)


def asked(remote: Remote) -> list[str]:
    """Return the pods that checkpoints were made for."""
    return sorted(one["spec"]["pod"] for one in remote.checkpoints())


@pytest.fixture
def shop(remote: Remote) -> Remote:
    """The cluster with three pods in the namespace `shop`."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    remote.do(remote.stage.cluster.create, namespace)
    seed(remote, "web-0", "web-1", "web-2", spec={"nodeName": "node1"})
    return remote


def test_all_pods_that_match_are_asked_for_and_shown_before(shop: Remote) -> None:
    crash = {"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    crashing = {"status": {"containerStatuses": [crash]}}
    shop.do(shop.stage.cluster.patch, "pods", "web-2", crashing, "shop")
    code, out, err = invoke(*WEB, "--reason", "why", "--artifact", "diff")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == ("3 pods match app=web in shop: 2 Running, 1 CrashLoopBackOff, on 1 node")
    assert [line.split()[:2] for line in lines[2:5]] == [
        ["shop/web-2", "CrashLoopBackOff"],
        ["shop/web-0", "Running"],
        ["shop/web-1", "Running"],
    ]
    assert lines[-2:] == [
        "Asked for the capture of 3 pods.",
        "Follow it with: forensics incident INC-7 status --watch",
    ]
    made = shop.checkpoints()
    assert {one["spec"]["reason"] for one in made} == {"why"}
    assert {one["metadata"]["labels"]["forensics.orkaproj.io/incident"] for one in made} == {
        "INC-7"
    }


def test_asking_again_asks_for_what_is_missing(shop: Remote) -> None:
    assert invoke(*WEB)[0] == 0
    seed(shop, "web-3")
    code, out, _ = invoke(*WEB)
    assert (code, out.splitlines()[-2]) == (
        0,
        "Asked for the capture of 1 pod. 3 asked for before.",
    )
    assert asked(shop) == ["web-0", "web-1", "web-2", "web-3"]
    assert invoke(*WEB, "--again")[0] == 0
    assert len(asked(shop)) == 8


def test_a_dry_run_lists_the_pods_and_asks_the_cluster_but_makes_nothing(shop: Remote) -> None:
    shop.stage.cluster.faults.add(Fault(verb="create", resource="podcheckpoints", status=403))
    code, out, _ = invoke(*CHECKPOINT, "--all", "--dry-run")
    assert code == 0 and shop.checkpoints() == []
    assert "Dry run: nothing was created. Would ask for the capture of 2 pods. 1 refused." in out
    assert len([line for line in out.splitlines() if line.startswith("Refused: shop/web-")]) == 1
    code, found, _ = invoke_json(*CHECKPOINT, "--all", "--dry-run")
    assert (code, found["dryRun"], found["total"], len(found["requests"])) == (0, True, 3, 3)
    assert found["requests"][0]["pod"]["name"] == "web-0"


def test_what_is_refused_is_listed_and_the_code_says_it_is_a_part(shop: Remote) -> None:
    faults = shop.stage.cluster.faults
    faults.add(Fault(verb="create", resource="podcheckpoints", status=403))
    code, out, err = invoke(*WEB)
    assert code == 4 and "1 of 3 requests were refused" in err
    assert "Asked for the capture of 2 pods. 1 refused." in out and "Refused: shop/web-" in out
    faults.add(Fault(verb="create", resource="podcheckpoints", status=403, times=9))
    code, found, err = invoke_json(*WEB, "--again")
    assert code == 1 and "3 of 3 requests were refused" in err
    assert [one["state"] for one in found["requests"]] == ["Refused"] * 3
    assert all("error" in one for one in found["requests"])


REFUSED = (
    (("-l", "app=none"), 1, "No pod matches: app=none in shop"),
    ((), 2, "Nothing says which pods are meant. Add -l LABELS"),
    (("--all", "-A"), 2, "-n and -A contradict"),
    (("--owner", "web"), 2, "names no owner"),
    (("--all", "--limit", "2"), 1, "3 pods match (3 in shop), more than the limit of 2"),
    (("--all", "--to", "http://x"), 2, "--to: "),
    (("--all", "--timeout", "5"), 2, "--timeout is for --wait"),
    (("-l", "app in ("), 1, "Correct the request"),
)


def test_what_cannot_be_asked_for_is_said_in_one_line(shop: Remote) -> None:
    for arguments, code, said in REFUSED:
        found, out, err = invoke(*CHECKPOINT, *arguments)
        assert (found, out, len(err.splitlines())) == (code, "", 1)
        assert said in err
    assert shop.checkpoints() == []


def test_an_incident_needs_an_id_that_is_a_label(shop: Remote) -> None:
    for incident in ("", "no label"):
        code, _, err = invoke("incident", incident, "checkpoint", "--all", "-n", "shop")
        assert code == 2 and "ncident" in err
    assert shop.checkpoints() == []


def test_many_pods_and_whatever_harms_them_wait_for_a_yes(shop: Remote) -> None:
    seed(shop, *(f"many-{number:02}" for number in range(30)))
    code, out, err = invoke(*WEB)
    assert code == 2 and "This would capture 33 pods. Add --yes" in err
    assert "33 pods match" in out and "... and 23 more: --dry-run lists all" in out
    few = (*CHECKPOINT, "--image", "registry.example/app:1", "--limit", "40")
    isolating = invoke(*few, "--isolate", "--after-capture", "delete")
    assert "and cut each off the network, and delete each once it is captured" in isolating[2]
    assert shop.checkpoints() == []
    assert invoke(*WEB, "--yes")[0] == 0
    assert len(shop.checkpoints()) == 33
    code, out, _ = invoke("incident", "INC-7", "status")
    assert code == 0 and "INC-7: 0 of 33 pods may be killed" in out
    assert "Phases:    33 Pending" in out and "web-0" not in out


def test_on_a_terminal_it_asks(shop: Remote) -> None:
    seed(shop, *(f"many-{number:02}" for number in range(30)))
    command = pexpect.spawn(FORENSICS, list(WEB), env=dict(os.environ), timeout=60)
    command.expect("Capture 33 pods.*y/N")
    command.sendline("n")
    command.expect(pexpect.EOF)
    command.close()
    assert (command.exitstatus, shop.checkpoints()) == (1, [])


def test_an_incident_is_waited_for_until_all_may_be_killed(shop: Remote) -> None:
    with shop.operating():
        code, out, err = invoke(*WEB, "--wait")
    assert code == 0
    lines = out.splitlines()
    assert "INC-7: 3 of 3 pods may be killed" in lines
    assert "Phases:    3 Complete" in lines
    assert "May be killed: shop/web-0, shop/web-1, shop/web-2" in lines
    assert [line.split()[2] for line in lines if line.startswith("shop/web-")][3:] == [
        "Complete"
    ] * 3
    news = err.splitlines()
    assert sorted(line for line in news if "/web-" in line) == [
        f"shop/web-{number} may be killed" for number in range(3)
    ]
    assert news[-1] == "3 of 3 pods may be killed (3 Complete)"
    code, found, _ = invoke_json("incident", "status", "INC-7")
    assert (code, found["mayBeKilled"]) == (0, ["shop/web-0", "shop/web-1", "shop/web-2"])
    assert yaml.safe_load(invoke("incident", "INC-7", "status", "-o", "yaml")[1]) == found


def test_what_failed_and_what_is_partial_is_listed_with_its_reason(shop: Remote) -> None:
    shop.stage.worker.gaps = (GAP,)
    assert invoke(*WEB)[0] == 0
    shop.do(shop.stage.cluster.delete, "pods", "web-1", "shop")
    with shop.operating():
        code, found, err = invoke_json("incident", "INC-7", "status", "--watch")
        assert code == 4 and "Of 3 pods 1 failed, and of 2 something is missing" in err
    assert found["phases"] == {"Complete": 2, "Failed": 1}
    code, out, err = invoke("incident", "INC-7", "status")
    assert (code, err) == (0, "")
    assert "shop/web-1  NotFound: " in out and "shop/web-0  NotSupported: " in out


def test_an_incident_of_which_nothing_was_captured_has_failed(shop: Remote) -> None:
    assert invoke(*WEB)[0] == 0
    for name in ("web-0", "web-1", "web-2"):
        shop.do(shop.stage.cluster.delete, "pods", name, "shop")
    with shop.operating():
        code, out, err = invoke("incident", "INC-7", "status", "--watch")
    assert code == 1 and "Of 3 pods 3 failed" in err and "0 of 3 pods may be killed" in out
    assert any(line.startswith("shop/web-0 failed: NotFound") for line in err.splitlines())


def test_an_incident_nobody_asked_for_is_named(shop: Remote) -> None:
    for more in (("status",), ("status", "--watch"), ("report", "-o", "json"), ()):
        code, _, err = invoke("incident", "INC-9", *more)
        assert code == 1 and "The incident 'INC-9' has no checkpoints" in err


def test_waiting_ends_after_its_time_and_the_captures_go_on(shop: Remote) -> None:
    code, _, err = invoke(*WEB, "--wait", "--timeout", "1")
    assert code == 1 and "have not ended within 1 s" in err
    assert len(shop.checkpoints()) == 3
    seed(shop, "web-3")
    shop.stage.cluster.faults.add(Fault(verb="create", resource="podcheckpoints", status=403))
    code, found, err = invoke(*WEB, "--wait", "--timeout", "1", "-o", "json")
    assert code == 1 and "Refused: shop/web-3" in err and found == ""


def test_ctrl_c_stops_the_watching_only(shop: Remote) -> None:
    async def stay(pod: RunningPod) -> ContainerExit | None:
        await anyio.sleep_forever()
        return None

    shop.stage.worker.before = stay
    assert invoke(*WEB)[0] == 0
    with shop.operating():
        arguments = ["incident", "INC-7", "status", "--watch"]
        command = pexpect.spawn(
            FORENSICS, arguments, env=os.environ | {"TERM": "xterm"}, timeout=120
        )
        # Redrawn on a terminal, with a line for each pod.
        command.expect("shop/web-2.*Capturing")
        command.kill(signal.SIGINT)
        command.expect("The captures go on")
        command.expect(pexpect.EOF)
        command.close()
    assert command.exitstatus == 130


def test_a_report_over_all_bundles_has_a_page_for_each(shop: Remote, tmp_path: Path) -> None:
    shop.stage.worker.contents = TRACES
    seed(shop, "gone")
    assert invoke(*WEB)[0] == 0
    shop.do(shop.stage.cluster.delete, "pods", "gone", "shop")
    with shop.operating():
        assert invoke("incident", "INC-7", "status", "--watch")[0] == 4
    folder = tmp_path / "report"
    key = tmp_path / "forensics.pub"
    key.write_bytes(shop.stage.public_key)
    report = ("incident", "INC-7", "report", "--key", key, "-o")
    code, _, err = invoke(*report, folder)
    told, fetched = err.splitlines()
    assert (code, told) == (0, f"The report is in {folder}/index.html")
    assert fetched.startswith("Fetched ")
    index = (folder / "index.html").read_text()
    pages = sorted(path.name for path in folder.glob("shop_web-*.html"))
    assert len(pages) == 3
    assert all(f'<a href="{page}">shop/web-' in index for page in pages)
    assert "<miner>" not in index and "&lt;miner&gt;" in index
    assert "The incident INC-7 has 4 pods; of 3 there is evidence." in index
    assert "Failed: NotFound" in index and "The seal holds" in index
    assert "shop/web-0" in (folder / pages[0]).read_text()
    # One file instead, and JSON for programs.
    assert invoke(*report, tmp_path / "all.md")[0] == 0
    text = (tmp_path / "all.md").read_text()
    assert "# Incident INC\\-7" in text and "\\<miner\\>" in text
    assert invoke(*report, tmp_path / "all.html")[0] == 0
    assert "<a href" not in (tmp_path / "all.html").read_text()
    code, out, _ = invoke(*report, "json")
    found = json.loads(out)
    assert [pod["pod"] for pod in found["pods"]] == [
        "shop/gone",
        "shop/web-0",
        "shop/web-1",
        "shop/web-2",
    ]
    assert len(found["findings"][0]["pods"]) == 3
    assert invoke(*report, tmp_path / "all.json")[0] == 0
    assert json.loads((tmp_path / "all.json").read_text()) == found


def test_a_report_names_what_is_not_genuine_or_cannot_be_read(shop: Remote, tmp_path: Path) -> None:
    shop.stage.worker.contents = TRACES
    assert invoke(*WEB)[0] == 0
    with shop.operating():
        assert invoke("incident", "INC-7", "status", "--watch")[0] == 0
    code, _, err = invoke("incident", "INC-7", "report", "-o", tmp_path / "report.pdf")
    assert code == 2 and "is not a kind of report" in err and "Name a folder, or a file" in err
    bad = tmp_path / "bad.pub"
    bad.write_text("nothing")
    assert invoke("incident", "INC-7", "report", "-o", "json", "--key", bad)[0] == 2
    other = tmp_path / "other.pub"
    other.write_bytes(generate_key()[1])
    report = ("incident", "INC-7", "report", "-o", "json")
    code, out, _ = invoke(*report, "--key", other)
    assert code == 3 and json.loads(out)["pods"][0]["notGenuine"]
    assert "(not genuine)" not in out
    one = shop.checkpoints()[0]["metadata"]["name"]
    nowhere = {"status": {"location": "s3://no-such-bucket-of-anybody/x/"}}
    shop.do(shop.stage.cluster.patch, "podcheckpoints", one, nowhere, NAMESPACE)
    code, out, err = invoke(*report)
    assert code == 1 and "1 bundle could not be read" in err
    assert len([pod for pod in json.loads(out)["pods"] if "problem" in pod]) == 1


def test_the_kubeconfigs_namespace_is_where_pods_are_looked_for(shop: Remote) -> None:
    config = shop.come_as(ADMIN, namespace="shop")
    command = ("incident", "INC-7", "checkpoint", "--kubeconfig", config)
    assert invoke(*command, "--all", "--dry-run")[0] == 0
    code, out, _ = invoke(*command, "--node", "node1", "-A", "--dry-run")
    assert code == 0 and "4 pods match on node node1 in all namespaces" in out
