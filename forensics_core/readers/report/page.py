"""A report as one page: no network, nothing that a container chose is markup or script.

The page forbids everything by its content security policy but its own style sheet and script, which
are named by their digests.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files

from forensics_core._internal.text import printable
from forensics_core._internal.units import human_size
from forensics_core.readers.findings.documents import number, text, words
from forensics_core.readers.findings.finding import Finding
from forensics_core.readers.report.story import ContainerStory, Story
from forensics_core.readers.report.summary import summary

_KINDS = {"A": "added", "C": "changed", "D": "deleted"}


def page(story: Story) -> Iterator[str]:
    """Yield the page, a piece at a time."""
    style, script = _asset("report.css"), _asset("report.js")
    policy = f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}"
    capture = story.capture
    pod = capture.order.pod
    title = f"{pod.namespace}/{pod.name}" if pod else "Containers"
    yield "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}; base-uri \'none\'">'
    yield '<meta name=viewport content="width=device-width, initial-scale=1">'
    yield f"<title>{_safe(title)}: evidence</title><style>{style}</style></head><body>"
    yield f"<header><h1>{_safe(title)}</h1>"
    yield f"<p><code>{_safe(story.location)}</code></p>"
    yield f"<p><code>sha256:{_safe(story.manifest_sha256)}</code></p></header><main>"
    yield "<section aria-labelledby=summary><h2 id=summary>Summary</h2><ul>"
    yield "".join(f"<li>{_safe(sentence)}</li>" for sentence in summary(story))
    yield "</ul></section>"
    yield from _findings(story)
    yield "<p class=search><label for=search>Search paths, processes, findings</label> "
    yield "<input id=search type=search autocomplete=off> <output id=count for=search></output></p>"
    for container in story.containers:
        yield from _container(container)
    yield from _missing(story)
    yield from _artifacts(story)
    yield f"</main><script>{script}</script></body></html>\n"


def _asset(name: str) -> str:
    return (files("forensics_core.readers.report") / name).read_text()


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _safe(value: str) -> str:
    """Return text of anybody as HTML: on one line, nothing invisible, no markup."""
    return escape(printable(value, 4096))


def _findings(story: Story) -> Iterator[str]:
    yield "<section aria-labelledby=findings><h2 id=findings>Findings</h2>"
    if not story.findings.findings:
        yield "<p>No rule found anything. That does not prove that nothing is there.</p>"
    else:
        yield _open_table(["Severity", "Seen", "Container", "What", "ATT&CK"])
        yield from (_finding(each) for each in story.findings.findings)
        yield "</tbody></table>"
    for line in story.findings.not_looked_at:
        yield f"<p class=warning>Not looked at: {_safe(line)}</p>"
    yield "</section>"


def _finding(finding: Finding) -> str:
    rule = finding.rule
    severity = rule.severity.name.lower()
    return (
        f"<tr><td><span class={severity}>{severity}</span></td><td>{_safe(rule.summary)}</td>"
        f"<td>{_safe(finding.container)}</td><td><details><summary>{_safe(finding.subject)}"
        f"</summary><p>{_safe(finding.detail)}</p><p>In <code>{_safe(finding.artifact)}</code>, "
        f"by the rule <code>{_safe(rule)}</code></p></details></td>"
        f'<td><a href="{rule.url}" rel="noreferrer noopener">{rule.attack}</a></td></tr>\n'
    )


def _container(container: ContainerStory) -> Iterator[str]:
    name = _safe(container.name)
    yield f"<section><h2>Container {name}</h2>"
    yield f"<p>{_safe(container.image)}, {_safe(container.state)}: {_safe(container.result)}.</p>"
    total = sum(container.totals.values())
    yield f"<h3>Changes ({total:,})</h3>"
    if total > len(container.changes):
        yield f"<p class=warning>The first {len(container.changes):,} are shown.</p>"
    if container.changes:
        yield _open_table(["Change", "Path", "Type", "Mode", "Size", "Modified", "Notes"])
        yield from (_row(_change(row)) for row in container.changes)
        yield "</tbody></table>"
    yield f"<h3>Processes ({container.processes_total:,})</h3>"
    if container.processes:
        yield _open_table(["PID", "Command", "Program", "Started", "Connections"])
        yield from _process_rows(container)
        yield "</tbody></table>"
    yield "</section>"


def _change(row: dict[str, object]) -> list[str]:
    kind = text(row.get("kind"))
    return [
        _KINDS.get(kind, kind),
        text(row.get("path")),
        text(row.get("type")),
        text(row.get("mode")),
        human_size(number(row.get("size")), digits=1),
        text(row.get("mtime"))[:19],
        ", ".join(words(row.get("notes"))),
    ]


def _process_rows(container: ContainerStory) -> Iterator[str]:
    for process, depth in zip(container.processes, container.depths, strict=True):
        indent = "\u2502 " * min(depth, 20)
        command = f"<span aria-hidden=true>{indent}</span>{_safe(process.command)}"
        connections = "<br>".join(_safe(line) for line in process.connections[:50])
        cells = [str(process.pid), command, _safe(process.program)]
        cells += [_safe(process.started[:19]), connections]
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n"


def _missing(story: Story) -> Iterator[str]:
    gaps = story.capture.not_captured
    yield f"<section><h2>Not captured ({len(gaps):,})</h2>"
    if gaps:
        yield _open_table(["Container", "What", "Asked for", "Reason", "Message"])
        for gap in gaps:
            asked = "yes" if gap.requested else "no"
            yield _row([gap.container or "", gap.what, asked, gap.reason, gap.message])
        yield "</tbody></table>"
    yield "</section>"


def _artifacts(story: Story) -> Iterator[str]:
    yield f"<section><h2>Artifacts ({len(story.capture.artifacts):,})</h2>"
    yield _open_table(["Name", "Size", "Flags", "SHA-256"])
    for one in story.capture.artifacts:
        yield _row(
            [one.name, human_size(one.original_size, digits=1), ", ".join(one.flags), one.sha256]
        )
    yield "</tbody></table></section>"


def _open_table(head: Iterable[str]) -> str:
    cells = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>"


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{_safe(cell)}</td>' for cell in cells)}</tr>\n"
