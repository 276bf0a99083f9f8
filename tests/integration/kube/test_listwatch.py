"""The list-and-watch outlives everything that servers and networks do, and misses nothing."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from forensics_core.errors import Forbidden
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.listwatch import WatchEvent, WatchSettings, listwatch
from forensics_core.kube.resources import PODS
from tests.integration.kube.scripted import (
    Answer,
    ScriptedApi,
    bookmark,
    event,
    listing,
    pod,
    refusal,
    reset,
    status_of,
    stream,
    text,
)

PATH = "/api/v1/namespaces/prod/pods"
QUICK = WatchSettings(idle=30, initial_pause=0.01, longest_pause=0.02)
RESTLESS = WatchSettings(idle=1, initial_pause=0.01, longest_pause=0.02)


async def take(cluster: ClusterConnection, count: int, **more: Any) -> list[WatchEvent]:
    """Return the first `count` events."""
    found: list[WatchEvent] = []
    settings = more.pop("settings", QUICK)
    async with listwatch(cluster, PODS, namespace="prod", settings=settings, **more) as events:
        while len(found) < count:
            found.append(await anext(events))
    return found


def told(events: list[WatchEvent]) -> list[tuple[str, str]]:
    return [(each.type, each.object.get("metadata", {}).get("name", "")) for each in events]


def versions(api: ScriptedApi) -> list[str]:
    return [seen.query["resourceVersion"] for seen in api.asked("WATCH")]


async def test_what_is_there_then_every_change(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", PATH, listing(10, pod("a", 1), pod("b", 2)))
    changes = [
        event("ADDED", pod("c", 11)),
        event("MODIFIED", pod("a", 12)),
        event("DELETED", pod("b", 13)),
    ]
    api.on("WATCH", PATH, stream(*changes, then="hang"))
    events = await take(cluster, 6)
    assert told(events) == [
        ("ADDED", "a"),
        ("ADDED", "b"),
        ("SYNCED", ""),
        ("ADDED", "c"),
        ("MODIFIED", "a"),
        ("DELETED", "b"),
    ]
    assert versions(api) == ["10"]


async def test_objects_come_with_their_kind_and_without_managed_fields(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", PATH, listing(10, pod("a", 1)))
    api.on("WATCH", PATH, stream(event("ADDED", pod("b", 11)), then="hang"))
    for item in (found.object for found in await take(cluster, 3) if found.object):
        assert (item["kind"], item["apiVersion"]) == ("Pod", "v1")
        assert "managedFields" not in item["metadata"]


async def test_selectors_bookmarks_and_a_limited_life_are_asked_for(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", PATH, listing(10))
    api.on("WATCH", PATH, stream(event("ADDED", pod("a", 11)), then="hang"))
    await take(cluster, 2, label_selector="app=x", field_selector="spec.nodeName=n")
    for seen in api.seen:
        assert seen.query["labelSelector"] == "app=x"
        assert seen.query["fieldSelector"] == "spec.nodeName=n"
    (watch,) = api.asked("WATCH")
    assert watch.query["allowWatchBookmarks"] == "true"
    assert 300 <= int(watch.query["timeoutSeconds"]) < 600


async def test_a_long_list_comes_in_pages(api: ScriptedApi, cluster: ClusterConnection) -> None:
    api.on("GET", PATH, listing(10, pod("a", 1), more="t&1"), listing(10, pod("b", 2)))
    api.on("WATCH", PATH, stream(then="hang"))
    assert told(await take(cluster, 3)) == [("ADDED", "a"), ("ADDED", "b"), ("SYNCED", "")]
    assert api.asked("GET")[1].query["continue"] == "t&1"


async def test_after_a_bookmark_the_watch_goes_on_from_there(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", PATH, listing(10))
    api.on("WATCH", PATH, stream(bookmark(50)), stream(event("ADDED", pod("a", 51)), then="hang"))
    assert told(await take(cluster, 2)) == [("SYNCED", ""), ("ADDED", "a")]
    assert versions(api) == ["10", "50"]
    assert len(api.asked("GET")) == 1


@pytest.mark.parametrize(
    "fault",
    [
        stream(),
        stream(then="reset"),
        stream(b'{"type": "ADDED", "obj', then="reset"),
        reset(),
        text("", 503),
        text("", 401),
        text("<html>bad gateway</html>", 502),
        refusal(429, "TooManyRequests", Retry_After="0"),
        refusal(500, "InternalError"),
        refusal(403, "Forbidden"),
    ],
    ids=[
        "clean-end",
        "reset",
        "cut-event",
        "no-answer",
        "empty-503",
        "empty-401",
        "proxy-502",
        "429",
        "500",
        "403",
    ],
)
async def test_a_watch_survives(
    api: ScriptedApi, cluster: ClusterConnection, fault: Answer
) -> None:
    api.on("GET", PATH, listing(10))
    api.on("WATCH", PATH, fault, fault, fault, stream(event("ADDED", pod("a", 11)), then="hang"))
    events = [found for found in await take_until(cluster, "a") if found.object]
    assert told(events) == [("ADDED", "a")]


async def take_until(cluster: ClusterConnection, name: str) -> list[WatchEvent]:
    found: list[WatchEvent] = []
    async with listwatch(cluster, PODS, namespace="prod", settings=QUICK) as events:
        async for change in events:
            found.append(change)
            if change.object.get("metadata", {}).get("name") == name:
                break
    return found


@pytest.mark.parametrize(
    "gone",
    [
        refusal(410, "Expired"),
        stream(event("ERROR", status_of(410, "Expired"))),
        stream(event("ERROR", {"code": "?"})),
        stream(b'"no event"\n'),
        stream(b'{"type": "LATER", "object": {"metadata": {"resourceVersion": "1"}}}\n'),
    ],
    ids=["410", "410-in-stream", "unknown-error", "garbage", "unknown-type"],
)
async def test_after_a_gap_the_difference_is_told(
    api: ScriptedApi, cluster: ClusterConnection, gone: Answer
) -> None:
    api.on(
        "GET",
        PATH,
        listing(10, pod("same", 1), pod("changed", 2), pod("gone", 3), pod("anew", 4, "old")),
        listing(20, pod("same", 1), pod("changed", 12), pod("anew", 14, "new"), pod("more", 15)),
    )
    api.on("WATCH", PATH, gone, stream(then="hang"))
    events = (await take(cluster, 11))[5:]
    assert told(events) == [
        ("DELETED", "anew"),
        ("MODIFIED", "changed"),
        ("ADDED", "anew"),
        ("ADDED", "more"),
        ("DELETED", "gone"),
        ("SYNCED", ""),
    ]
    assert events[0].object["metadata"]["uid"] == "old"
    assert events[4].object["metadata"]["resourceVersion"] == "3", "the last one known"


async def test_changes_from_the_watch_count_in_the_difference(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", PATH, listing(10, pod("a", 1)), listing(20, pod("b", 11)))
    api.on(
        "WATCH",
        PATH,
        stream(event("ADDED", pod("b", 11)), event("DELETED", pod("a", 12))),
        refusal(410, "Expired"),
        stream(then="hang"),
    )
    events = await take(cluster, 5)
    assert told(events)[2:] == [("ADDED", "b"), ("DELETED", "a"), ("SYNCED", "")]


async def test_a_stream_without_even_a_bookmark_is_listed_again(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    """A version from before a restore lies in the future: a watch from there is silent."""
    api.on("GET", PATH, listing(999, pod("a", 998)), listing(10, pod("a", 9)))
    api.on("WATCH", PATH, stream(then="hang"))
    events = await take(cluster, 4, settings=RESTLESS)
    assert told(events)[2:] == [("MODIFIED", "a"), ("SYNCED", "")]


async def test_an_idle_stream_that_was_alive_goes_on_where_it_was(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", PATH, listing(10))
    api.on(
        "WATCH",
        PATH,
        stream(bookmark(11), then="hang"),
        stream(event("ADDED", pod("a", 12)), then="hang"),
    )
    await take(cluster, 2, settings=RESTLESS)
    assert versions(api) == ["10", "11"]
    assert len(api.asked("GET")) == 1


async def test_an_event_over_the_limit_comes_by_the_list(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    huge = pod("huge", 11, message="x" * 5000)
    api.on("GET", PATH, listing(10), listing(11, huge))
    api.on("WATCH", PATH, stream(event("ADDED", huge)), stream(then="hang"))
    settings = WatchSettings(line_limit=1000, initial_pause=0.01)
    events = await take(cluster, 3, settings=settings)
    assert told(events) == [("SYNCED", ""), ("ADDED", "huge"), ("SYNCED", "")]


@pytest.mark.parametrize(
    "fault",
    [
        reset(),
        text("", 503),
        refusal(410, "Expired"),
        refusal(504, "Timeout", Retry_After="0"),
    ],
)
async def test_the_first_list_waits_for_the_server(
    api: ScriptedApi, cluster: ClusterConnection, fault: Answer
) -> None:
    api.on("GET", PATH, fault, fault, listing(10, pod("a", 1)))
    api.on("WATCH", PATH, stream(then="hang"))
    assert told(await take(cluster, 2)) == [("ADDED", "a"), ("SYNCED", "")]


async def test_a_first_list_that_is_forbidden_says_so(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", PATH, refusal(403, "Forbidden", "pods is forbidden"))
    with pytest.raises(Forbidden, match="pods is forbidden"):
        await take(cluster, 1)


async def test_a_server_that_ends_every_stream_is_not_hammered(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", PATH, listing(10))
    api.on("WATCH", PATH, stream())
    settings = WatchSettings(initial_pause=0.1, longest_pause=10)
    async with listwatch(cluster, PODS, namespace="prod", settings=settings) as events:
        await anext(events)
        with anyio.move_on_after(1):
            await anext(events)
    assert len(api.asked("WATCH")) <= 5, "each pause is twice the one before"


async def test_so_many_are_listed_at_a_time_as_the_settings_say(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", PATH, listing(10, pod("a", 1)))
    api.on("WATCH", PATH, stream(then="hang"))
    await take(cluster, 2, settings=WatchSettings(page=7))
    assert [seen.query["limit"] for seen in api.asked("GET")] == ["7"]


async def test_nothing_but_metadata_is_asked_for_where_that_will_do(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", PATH, listing(10, pod("a", 1)))
    api.on("WATCH", PATH, stream(event("MODIFIED", pod("a", 11)), then="hang"))
    await take(cluster, 3, metadata_only=True)
    (listed,), (watched,) = api.asked("GET"), api.asked("WATCH")
    assert "as=PartialObjectMetadataList;" in listed.headers["Accept"]
    assert "as=PartialObjectMetadata;" in watched.headers["Accept"]
    assert listed.query["limit"] == "500"
