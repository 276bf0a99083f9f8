"""`/checkpoint -n shop -l app=web`: a list to say yes to, then one PodCheckpoint a pod."""

from __future__ import annotations

import pytest

from tests.integration.slackbot.setup import SlackSetup

LABELS = {"app": "web"}


def seed(setup: SlackSetup, count: int, namespace: str = "shop") -> None:
    """Make pods `front-0`, ... with a label."""
    for number in range(count):
        setup.cluster.seed_pod(f"front-{number}", namespace, metadata={"labels": LABELS})


async def test_a_click_on_the_preview_captures_all_pods_that_match(setup: SlackSetup) -> None:
    seed(setup, 3)
    async with setup.bot():
        preview = await setup.alice.ask("-n shop -l app=web --incident INC-7 --isolate")
        said = preview.everything()
        for fact in ("3 pods: app=web in shop", "front-0, front-1, front-2", "As alice", "INC-7"):
            assert fact in said
        assert "cut off the network" in said
        assert "Capture and contain" in str(preview.buttons()["captureall"]["confirm"])
        assert setup.checkpoints() == []
        answer = await setup.alice.click(preview, "captureall")
        made = await setup.made(3)
        root = await setup.shown("Incident INC-7 · 3 pods")
        again = await setup.alice.click(preview, "captureall")
        second = await setup.alice.ask("-n shop -l app=web --incident INC-7")
        repeated = await setup.alice.click(second, "captureall")
    assert "Asked for 3 of 3 pods, as the incident INC-7" in answer.text
    assert "too old, or was used already" in again.text
    assert "Asked for 0 of 3 pods" in repeated.text
    uids = {setup.cluster.get("pods", f"front-{n}", "shop")["metadata"]["uid"] for n in range(3)}
    notes = [one["metadata"]["annotations"] for one in made]
    assert {one["forensics.orkaproj.io/expected-pod-uid"] for one in notes} == uids
    assert {one["forensics.orkaproj.io/requested-by"] for one in notes} == {"alice"}
    assert all(one["spec"]["isolate"] for one in made)
    assert "<@U0ALICE>" in root.everything()
    assert setup.slack.workspace.roots() == [root]


async def test_one_approval_serves_all_pods_of_a_protected_namespace(setup: SlackSetup) -> None:
    seed(setup, 3, "prod")
    async with setup.bot():
        preview = await setup.alice.ask("-n prod -l app=web --after-capture delete")
        assert "Somebody else has to approve, once" in preview.everything()
        waiting = await setup.alice.click(preview, "captureall")
        assert "approve" in waiting.text
        request = await setup.shown("Approval needed: 3 pods of case-")
        assert "prod/front-0, prod/front-1, prod/front-2" in request.everything()
        assert "DELETED after the capture (Delete)" in request.everything()
        refused = await setup.alice.click(request, "approve")
        assert "Somebody else" in refused.text
        await setup.bob.click(request, "approve")
        made = await setup.made(3)
        await setup.shown("Approved by")
        await setup.shown("3 pods", thread=False)
    assert {one["spec"]["afterCapture"] for one in made} == {"Delete"}
    assert len({one["metadata"]["labels"]["forensics.orkaproj.io/incident"] for one in made}) == 1
    assert request.buttons() == {}


async def test_more_pods_than_the_limit_are_refused_with_their_number(setup: SlackSetup) -> None:
    seed(setup, 5)
    async with setup.bot():
        answer = await setup.alice.ask("-n shop -l app=web --limit 4")
        nothing = await setup.alice.ask("-n shop -l app=nothing")
        nowhere = await setup.alice.ask("-A --node node-9")
    assert "5 pods match (5 in shop), more than the limit of 4: none of them" in answer.text
    assert "No pod matches: app=nothing in shop" in nothing.text
    assert "No pod matches: on node node-9 in all namespaces" in nowhere.text
    assert setup.checkpoints() == []


async def test_only_what_somebody_may_capture_is_shown(setup: SlackSetup) -> None:
    seed(setup, 2)
    seed(setup, 2, "secret")
    setup.rights.list_pods["dave"] = set()
    setup.slack.workspace.groups["S0RESP"].append("U0DAVE")
    identities = {"U0ALICE": {"username": "alice"}, "U0DAVE": {"username": "dave"}}
    async with setup.bot(identities=identities):
        hidden = await setup.alice.ask("-n secret -l app=web")
        everywhere = await setup.alice.ask("-A -l app=web --dry-run")
        unlisted = await setup.person("U0DAVE").ask("-n shop -l app=web")
    assert "create pods/exec" in hidden.text
    assert "2 pods: app=web in all namespaces" in everywhere.everything()
    assert "secret" not in everywhere.everything()
    assert everywhere.buttons() == {}
    assert "list pods" in unlisted.text


async def test_of_many_namespaces_only_those_count_whose_pods_may_be_captured_and_listed(
    setup: SlackSetup,
) -> None:
    names = [f"team-{number:02}" for number in range(25)]
    for name in names:
        setup.cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        seed(setup, 1, name)
    setup.rights.capture["alice"] = {*names[:20]}
    setup.rights.list_pods["alice"] = {*names[5:]}
    async with setup.bot():
        preview = await setup.alice.ask("-A -l app=web --dry-run")
    assert "15 pods: app=web in all namespaces" in preview.everything()
    shown = [name for name in names if name in preview.everything()]
    assert shown and set(shown) <= {*names[5:20]}


async def test_containing_takes_the_rights_to_do_it_by_hand(setup: SlackSetup) -> None:
    seed(setup, 1)
    setup.rights.contain["alice"] = set()
    async with setup.bot():
        isolate = await setup.alice.ask("-n shop -l app=web --isolate")
        delete = await setup.alice.ask("web-0 -n shop --after-capture delete")
    assert "create networkpolicies" in isolate.text
    assert "delete pods" in delete.text
    assert setup.checkpoints() == []


async def test_a_list_is_only_for_whoever_asked(setup: SlackSetup) -> None:
    seed(setup, 1)
    async with setup.bot():
        preview = await setup.alice.ask("-n shop -l app=web")
        before = len(setup.bob.ephemerals())
        await setup.bob.press_value("captureall", preview.buttons()["captureall"]["value"])
        other = await setup.bob.next_ephemeral(before)
        setup.rights.capture["alice"] = set()
        lost = await setup.alice.click(preview, "captureall")
    assert "zu alt" in other.text
    assert "create pods/exec" in lost.text
    assert setup.checkpoints() == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("web-0 -n shop -l app=web", "not both"),
        ("-l app=web", "no namespace is named"),
        ("-n shop --owner web", "'web' names no owner"),
        ("-n shop -l app=web --limit 5001", "1 to 1000 pods"),
        ("-n shop --node ../x", "is not a name"),
        ("web-0 -n shop --after-capture explode", "keep, delete, delete-even-if-partial"),
        ("-n shop -l 'app in ('", "The cluster did not do it"),
    ],
)
async def test_bad_requests_are_explained(setup: SlackSetup, typed: str, said: str) -> None:
    async with setup.bot():
        answer = await setup.alice.ask(typed)
    assert said in answer.text
