"""The report: one page that needs no network and that nothing in the evidence can take over."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from click.testing import CliRunner, Result

from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.reader import open_bundle
from forensics_core.bundle.seal import generate_key, sign
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.cli.main import forensics
from forensics_core.errors import ForensicsError
from forensics_core.readers.report.changes import milliseconds
from forensics_core.readers.report.content import ReportLimits, read_content
from forensics_core.readers.report.data import page_data
from forensics_core.readers.report.moments import Bounds, read_moments
from forensics_core.readers.report.page import page
from forensics_core.readers.report.processes import ProcessNode, arrange
from forensics_core.readers.report.summary import summary
from forensics_core.readers.timeline.entry import EntrySource, to_stamp
from forensics_core.storage.blocks import one
from forensics_core.storage.storage import open_destination
from tests.bundles import capture, edit_manifest
from tests.unit.readers.evidence import DIFF, change, process, socket, write_evidence

HOSTILE = "</script><script>alert(1)</script>\"'=cmd|x\u202e\x1b[2J\ufe0f"


@pytest.fixture
async def bundle(tmp_path: Path) -> Path:
    return await write_evidence(
        tmp_path / "bundle",
        [
            change(f"/tmp/{HOSTILE}", mode="0755"),
            change("/etc/ld.so.preload"),
            change("/etc/passwd", "D"),
        ],
        [process(7, "/memfd:x (deleted)", HOSTILE), process(8, "/bin/sh"), process(9, "/bin/id")],
        [socket("ESTABLISHED", ("10.0.0.5", 40000), ("8.8.8.8", 443), 7)],
    )


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(forensics, ["report", *(str(one) for one in arguments)])


def test_the_page_tells_the_story(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    result = invoke(bundle, "-o", target)
    assert result.exit_code == 0, result.output
    content = target.read_text()
    for told in (
        "Against its image, web has 2 added, 0 changed, 1 deleted.",
        "1 process runs a program that is not in the image, or has no file any more: ",
        "The bundle has no seal: nobody vouches for it.",
        "1 thing is not in the bundle, 0 of them asked for",
        "mount /dev/shm",
        "https://attack.mitre.org/techniques/T1574/006/",
        "to 8.8.8.8:443 ESTABLISHED",
    ):
        assert told in content


def test_nothing_in_the_evidence_is_markup(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    invoke(bundle, "-o", target)
    content = target.read_text()
    assert content.count("<script>") == 1 and "alert(1)</script>" not in content
    assert "<b>" not in content
    assert not set(content) & {"\u202e", "\x1b", "\ufe0f"}
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', content)
    assert policy and policy[1].startswith("default-src 'none'; style-src 'sha256-")
    links = set(re.findall(r"[a-z]+://[a-z.0-9]*", content))
    # The last is what SVG is called in scripts, and is never fetched.
    assert links <= {"https://attack.mitre.org", "file://", "http://www.w3.org"}
    assert not re.search(r"\s(src|srcset|action|data|on[a-z]+)=", content.partition("<script")[0])


def test_markdown_has_no_markup_of_others_either(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.md"
    assert invoke(bundle, "-o", target).exit_code == 0
    content = target.read_text()
    assert "<script" not in content.replace("\\<", "") and "| HIGH |" in content
    assert "mount /dev/shm" in content


def test_programs_get_json(bundle: Path) -> None:
    told = json.loads(invoke(bundle, "-o", "json").stdout)
    assert {each["rule"] for each in told["findings"]} >= {"ld-so-preload", "memfd-program-running"}
    assert told["findings"][0]["severity"] == "high"
    assert told["notCaptured"][0]["what"] == "mount /dev/shm"


def test_a_report_for_programs_can_be_a_file(bundle: Path, tmp_path: Path) -> None:
    result = invoke(bundle, "-o", tmp_path / "report.JSON")
    assert result.exit_code == 0 and result.stdout == ""
    assert json.loads((tmp_path / "report.JSON").read_text())["fetched"] is None


def test_what_is_not_genuine_is_named(bundle: Path, tmp_path: Path) -> None:
    (bundle / DIFF).write_bytes((bundle / DIFF).read_bytes().replace(b"preload", b"prelaod"))
    target = tmp_path / "report.html"
    assert invoke(bundle, "-o", target).exit_code == 3
    assert "diff.json is not what the manifest says" in target.read_text()


def test_an_unknown_kind_of_report(bundle: Path) -> None:
    result = invoke(bundle, "-o", "report.pdf")
    assert result.exit_code == 2 and "is not a kind of report" in result.stderr


async def test_a_report_shows_the_first_of_very_many(tmp_path: Path) -> None:
    folder = await write_evidence(tmp_path / "b", [change(f"/{n}") for n in range(9)])
    async with open_bundle(str(folder)) as opened:
        story = await read_content(opened, limits=ReportLimits(changes=5))
    content = await to_thread.run_sync(lambda: "".join(page(story)))
    assert "The first 5 are shown: 'forensics ls" in content and "Changes in web (9)" in content


def test_a_table_of_processes_that_contradicts_itself_is_shown_all_the_same() -> None:
    pairs = [(1, 0), (3, 2), (2, 3), (1, 0), (4, 4), (5, 1), (6, 5)]
    tree = arrange([ProcessNode(pid, parent, "", str(pid), "") for pid, parent in pairs])
    assert sorted(each.pid for each in tree.processes) == [1, 1, 2, 3, 4, 5, 6]
    depths = {each.pid: depth for each, depth in zip(tree.processes, tree.depths, strict=True)}
    assert depths[5] == 1 and depths[6] == 2


def test_the_seal_is_checked_with_a_key(bundle: Path, tmp_path: Path) -> None:
    private, public = generate_key()
    (tmp_path / "key").write_bytes(public)
    (tmp_path / "other").write_bytes(generate_key()[1])
    seal = sign((bundle / "manifest.json").read_bytes(), private)
    (bundle / "manifest.sigstore.json").write_bytes(seal)

    def told(*key: str | Path) -> tuple[int, Any]:
        result = invoke(bundle, "-o", "json", *key)
        return result.exit_code, json.loads(result.stdout)

    code, found = told()
    assert (code, found["seal"]) == (0, "unchecked")
    code, found = told("--key", tmp_path / "key")
    assert (code, found["seal"]) == (0, "valid") and "seal holds" in found["summary"][1]
    code, found = told("--key", tmp_path / "other")
    assert (code, found["seal"]) == (3, "invalid") and "does not hold" in found["summary"][1]


async def test_what_the_script_gets_ends_no_element_and_unpacks_to_what_there_was(
    bundle: Path,
) -> None:
    async with open_bundle(str(bundle)) as opened:
        story = await read_content(opened)
    written = "".join(page_data(story))
    assert "<" not in written and not set(written) & {"\u202e", "\u2028"}
    (container,) = json.loads(written)["containers"]
    paths, before = [], ""
    for shared, _, rest, *_ in container["changes"]:
        before = before[:shared] + rest
        paths.append(before)
    assert paths == [each.path for each in story.containers[0].changes.first]
    assert [row[0] for row in container["processes"]] == [7, 8, 9]


async def test_long_names_make_it_fewer_changes(tmp_path: Path) -> None:
    rows = [change(f"/{number}/" + "x" * 1000) for number in range(9)]
    folder = await write_evidence(tmp_path / "b", rows)
    async with open_bundle(str(folder)) as opened:
        story = await read_content(opened, limits=ReportLimits(bytes=5_000, processes=1))
    (container,) = story.containers
    assert len(container.changes.first) == 4 and container.changes.total == 9


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1970-01-01T00:00:01.999999999Z", 1999),
        ("1901-01-01T00:00:00Z", -2177452800000),
        ("@99999999999.5", 99999999999000),
        ("@-7.0", -7000),
        ("@" + "9" * 30, None),
        ("@x", None),
        ("yesterday", None),
        (7, None),
    ],
)
def test_times_of_every_calendar_and_none(written: object, expected: int | None) -> None:
    assert milliseconds(written) == expected


async def test_logs_are_there_as_far_as_a_page_goes(tmp_path: Path) -> None:
    lines = "".join(f"2026-08-01T10:00:0{n}Z stdout F <b>{n}\u202e\n" for n in range(5))
    folder = tmp_path / "bundle"
    async with open_destination(str(folder)) as destination:
        writer = BundleWriter(destination)
        for name in ("0.log", "1.log"):
            spec = ArtifactSpec(f"containers/web/logs/{name}", ArtifactKind.LOGS, "web")
            await writer.add(spec, one(lines.encode()))
        await writer.finish(capture())
    missed: list[ForensicsError] = []
    async with open_bundle(str(folder)) as opened:
        moments = await read_moments(opened, missed.append, Bounds(lines=2, logs=1))
        assert len(moments.lines) == 2 and moments.lines_total == 5
        assert moments.lines[-1].message.endswith("<b>4\\u202e")
        assert moments.not_read == ["containers/web/logs/1.log"]
        moments = await read_moments(opened, missed.append, Bounds(bytes=10))
        assert len(moments.not_read) == 2
    (folder / "containers/web/logs/0.log").write_bytes(lines.replace("4", "5").encode())
    async with open_bundle(str(folder)) as opened:
        moments = await read_moments(opened, missed.append)
    assert len(moments.lines) == 10 and "0.log is not what" in missed[0].message


async def test_events_of_the_cluster_are_told_by_the_nodes_clock(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    event = {"reason": "Pulled", "message": "x", "eventTime": "2026-08-01T10:00:00Z"}
    async with open_destination(str(folder)) as destination:
        writer = BundleWriter(destination)
        spec = ArtifactSpec("context/events.json", ArtifactKind.CONTEXT)
        await writer.add(spec, one(json.dumps({"items": [event]}).encode()))
        await writer.finish(capture())
    clock = {"node": "2026-08-01T10:00:20Z", "destination": "2026-08-01T10:00:00Z"}
    edit_manifest(folder, lambda document: document["predicate"].update(clocks=[clock]))
    async with open_bundle(str(folder)) as opened:
        story = await read_content(opened)
    (seen,) = (each for each in story.moments.entries if each.source is EntrySource.EVENT)
    assert to_stamp(seen.time).startswith("2026-08-01T10:00:20")
    assert any("20 s ahead of the store's" in line for line in summary(story))
