"""What a page says of the many, the missing and the hidden, and of what surrounds a pod."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from anyio import to_thread

from forensics_core.bundle.reader import open_bundle
from forensics_core.readers.findings.finding import Rule
from forensics_core.readers.report.content import ReportContent, ReportLimits, read_content
from forensics_core.readers.report.page import page
from forensics_core.readers.report.text import as_json, markdown
from tests.bundles import edit_manifest
from tests.unit.readers.evidence import PROCESSES, change, process, socket, write_evidence
from tests.unit.readers.report.test_surroundings import whole


async def story_of(folder: Path, limits: ReportLimits | None = None) -> ReportContent:
    async with open_bundle(str(folder)) as bundle:
        return await read_content(bundle, limits=limits)


async def shown(story: ReportContent) -> str:
    return await to_thread.run_sync(lambda: "".join(page(story)))


async def test_the_surroundings_are_in_every_form(tmp_path: Path) -> None:
    story = await whole(tmp_path / "bundle")
    content = await shown(story)
    assert "<li>db (volume)</li>" in content and "The service account shop/web may" in content
    assert "<pre># nft\ntable inet x {\n}</pre>" in content
    assert "</code> on the node</summary>" in content
    text = markdown(story)
    assert "## Secrets that the pod has" in text and "- hostNetwork: it shares" in text
    assert as_json(story)["surroundings"]["networkPolicies"] == [
        "closed: restricts Ingress, Egress"
    ]


async def test_findings_without_number_are_counted(tmp_path: Path) -> None:
    rows = [change(f"/tmp/{number}", mode="0755") for number in range(140)]
    rows += [change(f"/gone/{number}", "D") for number in range(12)]
    folder = await write_evidence(tmp_path / "bundle", rows, [process(n, "/x") for n in (7, 8)])
    content = await shown(await story_of(folder, ReportLimits(processes=1)))
    assert "40 are not shown here" in content and "(140)" in content
    assert "lacks /gone/0, /gone/1, /gone/2 and 9 more." in content
    assert "Processes in web (2)" in content and "The first 1 are shown." in content


async def test_who_hides_and_who_came_from_outside(tmp_path: Path) -> None:
    rows = [
        process(7, "/bin/x") | {"hiddenBy": ["listing"], "foundBy": ["children", "cgroup"]},
        process(8, "/bin/sh", "sh") | {"entered": True, "terminal": "pts/0", "uid": [0, 33, 0, 0]},
    ]
    story = await story_of(await write_evidence(tmp_path / "bundle", [], rows))
    told = {each.rule: each.detail for each in story.findings.findings}
    assert told[Rule.HIDDEN] == "hidden by: listing. Started as: /bin/x"
    assert told[Rule.ENTERED] == "sh on pts/0, by process 7 of the node"
    (container,) = story.containers
    assert container.tree.processes[0].found_by == ["children", "cgroup"]
    assert container.tree.processes[1].uid == "33"


async def test_the_summary_says_who_talks_to_whom(tmp_path: Path) -> None:
    sockets = [
        *(socket("ESTABLISHED", ("10.0.0.5", 40000 + n), ("8.8.8.8", 443), 7) for n in range(4)),
        {"protocol": "tcp", "pids": [7, "x"], "local": 7, "remote": None, "state": "LISTEN"},
        {"protocol": "tcp", "pids": 7},
    ]
    rows = [process(7, "/bin/x")]
    story = await story_of(await write_evidence(tmp_path / "bundle", [], rows, sockets))
    content = await shown(story)
    assert "4 connections go out to public addresses: tcp 8.8.8.8:443, ESTABLISHED." in content


async def test_a_manifest_of_very_many_rows_makes_no_endless_page(tmp_path: Path) -> None:
    folder = await write_evidence(tmp_path / "bundle", [])

    def flood(document: dict[str, Any]) -> None:
        (gap,) = document["predicate"]["notCaptured"]
        document["predicate"]["notCaptured"] = [gap] * 6_000

    edit_manifest(folder, flood)
    content = await shown(await story_of(folder))
    assert content.count("mount /dev/shm") == 5_000 and "Not captured (6,000)" in content


async def test_what_is_not_genuine_is_said_in_the_summary(tmp_path: Path) -> None:
    folder = await write_evidence(tmp_path / "bundle", [], [process(7, "/bin/x")])
    edit_manifest(folder, lambda document: document["predicate"].update(notCaptured=[]))
    (folder / PROCESSES).write_bytes((folder / PROCESSES).read_bytes().replace(b"/x", b"/y"))
    story = await story_of(folder)
    content = await shown(story)
    assert story.not_genuine and "do not rely on what is named as such" in content
    assert "Everything was captured" in content and "<p>None.</p>" in content


async def test_every_section_has_its_heading(tmp_path: Path) -> None:
    content = await shown(await story_of(await write_evidence(tmp_path / "bundle", [])))
    named = re.findall(r"<a href=#([a-z]+)>", content)
    assert len(named) == 8
    assert all(
        f"<section id={name} tabindex=-1 aria-labelledby=of-{name}>" in content for name in named
    )
