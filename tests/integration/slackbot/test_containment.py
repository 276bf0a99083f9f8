"""Isolate, Release, Delete the pod: by a click, with the clicker's own rights."""

from __future__ import annotations

from tests.integration.slackbot.setup import (
    HERE,
    NAMESPACE,
    Document,
    SlackSetup,
    captured,
    condition,
    running,
)


def began(setup: SlackSetup, namespace: str = "shop", pod: str = "web-0") -> str:
    """Make a checkpoint that is being captured; return the pod's UID."""
    setup.kubectl_create(pod=pod, namespace=namespace, metadata={"annotations": HERE})
    uid: str = setup.cluster.get("pods", pod, namespace)["metadata"]["uid"]
    setup.progress("by-hand", **running(), podUID=uid)
    return uid


def other(setup: SlackSetup) -> Document:
    """Return the checkpoint that a click has made."""
    (made,) = [one for one in setup.checkpoints() if one["metadata"]["name"] != "by-hand"]
    return made


async def test_isolate_is_a_short_capture_of_the_very_same_pod(setup: SlackSetup) -> None:
    uid = began(setup)
    async with setup.bot(containment=True):
        root = await setup.shown("2 of 9 artifacts")
        assert set(root.buttons()) == {"cancel", "isolate"}
        assert "cut off the network now" in str(root.buttons()["isolate"]["confirm"])
        answer = await setup.alice.click(root, "isolate")
        await setup.made(2)
    made = other(setup)
    assert "Asked for" in answer.text
    assert made["spec"]["isolate"] is True
    assert "filesystem" not in made["spec"]["artifacts"]
    notes = made["metadata"]["annotations"]
    assert notes["forensics.orkaproj.io/expected-pod-uid"] == uid
    assert notes["forensics.orkaproj.io/requested-by"] == "alice"


async def test_release_lifts_the_isolation_and_the_thread_says_so(setup: SlackSetup) -> None:
    began(setup)
    async with setup.bot(containment=True):
        isolated = condition("Isolated", "Enforced", "By forensics-isolate-1.")
        setup.progress("by-hand", conditions=[isolated])
        root = await setup.shown("Cut off the network (Enforced). By forensics-isolate-1.")
        await setup.shown("Cut off the network (Enforced)", thread=True)
        setup.finish("by-hand", conditions=[isolated, *captured("by-hand")["conditions"]])
        await setup.posted("isolated,attempt-1,captured,complete")
        assert set(root.buttons()) == {"retry", "release", "deletepod"}
        answer = await setup.alice.click(root, "release")
        assert setup.cluster.get("podcheckpoints", "by-hand", NAMESPACE)["spec"]["release"] is True
        lifted = condition("Isolated", "Released", "") | {"status": "False"}
        setup.progress("by-hand", conditions=[lifted, *captured("by-hand")["conditions"]])
        await setup.shown("Not cut off any more (Released)", thread=True)
        await setup.shown("Not cut off any more (Released)")
        twice = await setup.alice.ask("release by-hand")
    assert "Releasing by-hand" in answer.text
    assert "isolated nothing that could be released" in twice.text
    assert setup.slack.workspace.roots() == [root]


async def test_delete_the_pod_is_asked_of_the_operator(setup: SlackSetup) -> None:
    uid = began(setup)
    async with setup.bot(containment=True):
        gap = condition("Partial", "NotSupported", "Not captured: memory")
        setup.finish("by-hand", conditions=[*captured("by-hand")["conditions"], gap], podUID=uid)
        await setup.posted("attempt-1,captured,complete")
        root = await setup.shown("complete, in part")
        assert "MISSING" in str(root.buttons()["deletepod"]["confirm"])
        await setup.alice.click(root, "deletepod")
        await setup.made(2)
        made = other(setup)["metadata"]["name"]
        gone = condition("PodDeleted", "Captured", "By its UID.")
        setup.finish(made, conditions=[*captured(made)["conditions"], gone])
        await setup.shown("The pod was deleted (Captured). By its UID.", thread=True)
        message = await setup.shown("The pod was deleted (Captured). By its UID.")
    assert other(setup)["spec"]["afterCapture"] == "Delete"
    assert set(message.buttons()) == {"retry"}
    assert setup.cluster.get("pods", "web-0", "shop"), "the bot itself deletes nothing"


async def test_the_clicker_needs_the_rights_to_do_it_by_hand(setup: SlackSetup) -> None:
    began(setup)
    setup.rights.contain["alice"] = set()
    async with setup.bot(containment=True):
        setup.finish("by-hand", conditions=[*captured("by-hand")["conditions"]])
        root = await setup.shown("complete")
        await setup.posted("attempt-1,captured,complete")
        isolate = await setup.alice.click(root, "isolate")
        delete = await setup.alice.click(root, "deletepod")
        release = await setup.alice.ask("release by-hand")
    assert "create networkpolicies" in isolate.text
    assert "delete pods" in delete.text
    assert "delete networkpolicies" in release.text
    assert len(setup.checkpoints()) == 1


async def test_a_second_person_approves_in_protected_namespaces(setup: SlackSetup) -> None:
    began(setup, "prod", "api-0")
    async with setup.bot(containment=True):
        root = await setup.shown("2 of 9 artifacts")
        await setup.alice.click(root, "isolate")
        request = await setup.shown("cut off the network before the capture")
        assert len(setup.checkpoints()) == 1
        await setup.bob.click(request, "approve")
        await setup.made(2)
        setup.progress("by-hand", conditions=[condition("Isolated", "Unverified", "Nobody knows")])
        await setup.shown("Perhaps NOT cut off the network (Unverified): Nobody knows")
        waiting = await setup.alice.click(root, "release")
        lifting = await setup.shown("The pod's isolation is lifted")
        await setup.bob.click(lifting, "approve")
        await setup.shown("Approved by")
    assert "approve the release" in waiting.text
    assert setup.cluster.get("podcheckpoints", "by-hand", NAMESPACE)["spec"]["release"] is True


async def test_another_checkpoint_of_the_same_name_is_not_released_by_an_approval(
    setup: SlackSetup,
) -> None:
    began(setup, "prod", "api-0")
    async with setup.bot(containment=True):
        setup.progress("by-hand", conditions=[condition("Isolated", "Enforced", "")])
        root = await setup.shown("Cut off the network (Enforced)")
        await setup.alice.click(root, "release")
        lifting = await setup.shown("The pod's isolation is lifted")
        setup.cluster.delete("podcheckpoints", "by-hand", NAMESPACE)
        setup.kubectl_create(pod="web-0", namespace="shop", metadata={"annotations": HERE})
        answer = await setup.bob.click(lifting, "approve")
    assert "UID in precondition" in answer.text
    assert not setup.cluster.get("podcheckpoints", "by-hand", NAMESPACE)["spec"].get("release")


async def test_a_replaced_pod_is_not_isolated(setup: SlackSetup) -> None:
    began(setup)
    async with setup.bot(containment=True):
        root = await setup.shown("2 of 9 artifacts")
        setup.cluster.delete("pods", "web-0", "shop", gracePeriodSeconds="0")
        setup.cluster.seed_pod("web-0", "shop")
        answer = await setup.alice.click(root, "isolate")
        early = await setup.alice.ask("status by-hand")
        nothing = await setup.alice.click(early, "cancel")
    assert "was replaced since the request" in answer.text
    assert set(early.buttons()) == {"cancel", "isolate"}
    assert "Cancelling" in nothing.text
    assert len(setup.checkpoints()) == 1


async def test_the_form_offers_to_isolate_and_to_delete(setup: SlackSetup) -> None:
    async with setup.bot(containment=True):
        await setup.alice.type("")
        form = await setup.alice.opened_form()
        filled = {"namespace": "shop", "pod": "web-0", "contain": ["isolate", "delete"]}
        await setup.alice.submit(form, **filled)
        (made,) = await setup.made()
    assert made["spec"]["isolate"] is True
    assert made["spec"]["afterCapture"] == "Delete"
