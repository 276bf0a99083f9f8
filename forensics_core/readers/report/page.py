"""A report as one page: no network, nothing that a container chose is markup or script.

The page forbids everything by its content security policy but its own style sheet and script, which
are named by their digests. What is long (changes, processes, times, lines of logs) is in it as JSON
(`data`), from which the script shows what is looked at; the rest is HTML and needs no script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files

from forensics_core._internal.units import human_size
from forensics_core.readers.report.cards import cards, safe
from forensics_core.readers.report.content import ContainerReport, ReportContent
from forensics_core.readers.report.data import page_data
from forensics_core.readers.report.summary import summary

_SCRIPTS = ("dom.js", "changes.js", "processes.js", "timeline.js", "search.js")
"""In the order in which they use each other."""
_SECTIONS = (
    ("summary", "Summary"),
    ("findings", "Findings"),
    ("changes", "Changes"),
    ("processes", "Processes"),
    ("timeline", "Timeline"),
    ("surroundings", "Surroundings"),
    ("missing", "Not captured"),
    ("artifacts", "Artifacts"),
)
_MAX_ROWS = 5_000
"""Rows of a table that come from the manifest, which may have very many."""


def page(story: ReportContent) -> Iterator[str]:
    """Yield the page, a piece at a time."""
    style, script = asset("report.css"), "".join(asset(name) for name in _SCRIPTS)
    policy = (
        f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    capture = story.capture
    pod = capture.order.pod
    names = ", ".join(each.name for each in story.containers[:3])
    title = f"{pod.namespace}/{pod.name}" if pod else names
    yield "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name=viewport content="width=device-width, initial-scale=1">'
    yield '<meta name=referrer content="no-referrer">'
    yield f"<title>{safe(title)}: evidence</title><style>{style}</style></head><body>"
    yield "<a class=skip href=#summary>To the summary</a>"
    yield f"<header><h1>{safe(title)}</h1><dl>"
    yield f"<div><dt>Bundle</dt><dd><code>{safe(story.location)}</code></dd></div>"
    yield f"<div><dt>Manifest</dt><dd><code>sha256:{safe(story.manifest_sha256)}</code></dd></div>"
    yield "</dl></header>"
    yield from _navigation()
    yield "<main>"
    yield "<section id=results class=results aria-label='What was found' hidden></section>"
    yield from _summary(story)
    yield "<section id=findings tabindex=-1 aria-labelledby=of-findings>"
    yield "<h2 id=of-findings>Findings</h2>"
    yield from cards(story)
    yield "</section>"
    yield from _changes(story.containers)
    yield from _processes(story.containers)
    yield from _timeline(story)
    yield from _surroundings(story)
    yield from _missing(story)
    yield from _artifacts(story)
    yield "</main><script type=application/json id=data>"
    yield from page_data(story)
    yield f"</script><script>{script}</script></body></html>\n"


def asset(name: str) -> str:
    """Return a style sheet or a script of the page."""
    return (files("forensics_core.readers.report") / "assets" / name).read_text("utf-8")


def digest(content: str) -> str:
    """Return how a content security policy names a style sheet or a script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _navigation() -> Iterator[str]:
    yield "<nav aria-label=Sections><ul>"
    yield "".join(f"<li><a href=#{name}>{words}</a></li>" for name, words in _SECTIONS)
    yield "</ul><div role=search><label for=search>Search</label> "
    yield "<input id=search type=search autocomplete=off spellcheck=false "
    yield "placeholder='paths, processes, logs, findings'> "
    yield "<output id=count for=search></output></div></nav>"


def _section(name: str, heading: str) -> str:
    return (
        f"<section id={name} tabindex=-1 aria-labelledby=of-{name}>"
        f"<h2 id=of-{name}>{safe(heading)}</h2>"
    )


def _summary(story: ReportContent) -> Iterator[str]:
    yield _section("summary", "Summary")
    yield _list(summary(story))
    yield "<noscript><p class=warning>Without scripts this page shows summary, findings, "
    yield "surroundings and what is missing, but no changes, processes and times.</p></noscript>"
    yield "</section>"


def _changes(containers: Iterable[ContainerReport]) -> Iterator[str]:
    yield _section("changes", "Changes")
    for number, container in enumerate(containers):
        changes = container.changes
        yield f"<h3>Changes in {safe(container.name)} ({changes.total:,})</h3>"
        yield f"<p>{safe(container.image)}, {safe(container.state)}: {safe(container.result)}.</p>"
        if changes.total > len(changes.first):
            shown = len(changes.first)
            yield f"<p class=warning>The first {shown:,} are shown: 'forensics ls LOCATION "
            yield f"{safe(container.name)} --changes' lists all of them.</p>"
        yield f"<div id=changes-{number} class=tree></div>"
    yield "</section>"


def _processes(containers: Iterable[ContainerReport]) -> Iterator[str]:
    yield _section("processes", "Processes")
    for number, container in enumerate(containers):
        tree = container.tree
        yield f"<h3>Processes in {safe(container.name)} ({tree.total:,})</h3>"
        if tree.total > len(tree.processes):
            yield f"<p class=warning>The first {len(tree.processes):,} are shown.</p>"
        yield f"<div id=processes-{number} class=processes></div>"
    yield "</section>"


def _timeline(story: ReportContent) -> Iterator[str]:
    moments = story.moments
    yield _section("timeline", "Timeline")
    yield "<p>When changed files were modified and their metadata changed, processes and "
    yield "containers started, what the cluster reported, and the logs' last lines. "
    yield "'forensics timeline' has all times of all files.</p>"
    if moments.lines_total > len(moments.lines):
        yield f"<p class=warning>The last {len(moments.lines):,} of {moments.lines_total:,} lines "
        yield "of logs are here.</p>"
    for name in moments.not_read[:100]:
        yield f"<p class=warning>Too much for a page: {safe(name)}.</p>"
    yield "<div id=graph></div></section>"


def _surroundings(story: ReportContent) -> Iterator[str]:
    found, node = story.surroundings, story.node
    yield _section("surroundings", "Surroundings")
    if not found.known:
        yield "<p>The bundle has nothing of a cluster: how far an intruder could have come from "
        yield "here cannot be told.</p>"
    account = f"The service account {found.account} may" if found.account else "Rights"
    groups = (
        ("Rights that lead further", found.powerful),
        (account, found.rights),
        ("Secrets that the pod has", found.secrets),
        ("On its node the pod has", found.pod),
        ("Network policies", found.policies),
        ("Services that lead to it", found.services),
        ("Volume claims", found.storage),
        ("What runs the same image", found.siblings),
        ("The node says", node.lines),
    )
    for heading, lines in groups:
        if lines:
            yield f"<h3>{safe(heading)}</h3>"
            yield _list(lines)
    if node.rules:
        yield "<details><summary>Firewall rules of the pod's network</summary>"
        yield from (f"<pre>{_lines(rules)}</pre>" for rules in node.rules)
        yield "</details>"
    yield "</section>"


def _lines(text: str) -> str:
    return "\n".join(safe(line) for line in text.splitlines())


def _missing(story: ReportContent) -> Iterator[str]:
    gaps = story.capture.not_captured
    yield _section("missing", f"Not captured ({len(gaps):,})")
    head = ["Container", "What", "Asked for", "Reason", "Message"]
    yield from _table(
        head,
        (
            [g.container or "", g.what, "yes" if g.requested else "no", g.reason, g.message]
            for g in gaps[:_MAX_ROWS]
        ),
        len(gaps),
    )
    yield "</section>"


def _artifacts(story: ReportContent) -> Iterator[str]:
    artifacts = story.capture.artifacts
    yield _section("artifacts", f"Artifacts ({len(artifacts):,})")
    yield from _table(
        ["Name", "Size", "Flags", "SHA-256"],
        (
            [one.name, human_size(one.original_size, digits=1), ", ".join(one.flags), one.sha256]
            for one in artifacts[:_MAX_ROWS]
        ),
        len(artifacts),
    )
    yield "</section>"


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{safe(line)}</li>' for line in lines)}</ul>"


def _table(head: Iterable[str], rows: Iterable[Sequence[str]], total: int) -> Iterator[str]:
    if not total:
        yield "<p>None.</p>"
        return
    if total > _MAX_ROWS:
        yield f"<p class=warning>The first {_MAX_ROWS:,} are shown.</p>"
    cells = "".join(f"<th scope=col>{safe(cell)}</th>" for cell in head)
    yield f"<table><thead><tr>{cells}</tr></thead><tbody>"
    for row in rows:
        yield f"<tr>{''.join(f'<td>{safe(cell)}</td>' for cell in row)}</tr>\n"
    yield "</tbody></table>"
