"""The report over all bundles of an incident as one page, with a link to the report of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from forensics_core.readers.report.cards import safe
from forensics_core.readers.report.incident import (
    FINDING_COLUMNS,
    POD_COLUMNS,
    IncidentContent,
    IncidentRow,
)
from forensics_core.readers.report.page import asset, digest


def incident_page(report: IncidentContent) -> Iterator[str]:
    """Yield the page, a piece at a time. It needs no network and no script."""
    style = asset("report.css")
    policy = f"default-src 'none'; style-src {digest(style)}; base-uri 'none'; form-action 'none'"
    title = f"Incident {safe(report.incident)}"
    yield "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name=viewport content="width=device-width, initial-scale=1">'
    yield '<meta name=referrer content="no-referrer">'
    yield f"<title>{title}: evidence</title><style>{style}</style></head><body>"
    yield f"<header><h1>{title}</h1></header><main>"
    yield "<section aria-labelledby=of-summary><h2 id=of-summary>Summary</h2><ul>"
    yield "".join(f"<li>{safe(sentence)}</li>" for sentence in report.summary())
    yield "</ul></section><section aria-labelledby=of-pods><h2 id=of-pods>Pods</h2>"
    yield from _table(POD_COLUMNS, report.pod_rows(), POD_COLUMNS.index("Pod"))
    yield "</section><section aria-labelledby=of-findings><h2 id=of-findings>Findings</h2>"
    yield from _table(FINDING_COLUMNS, report.finding_rows(), FINDING_COLUMNS.index("Pod"))
    yield "</section></main></body></html>\n"


def _table(head: Sequence[str], rows: Iterator[IncidentRow], of_pod: int) -> Iterator[str]:
    """Yield a table; the column `of_pod` names the pod, and leads to its own report."""
    cells = "".join(f"<th scope=col>{safe(cell)}</th>" for cell in head)
    yield f"<table><thead><tr>{cells}</tr></thead><tbody>"
    for row in rows:
        shown = [_cell(cell) for cell in row.cells]
        if row.pod.link:
            shown[of_pod] = f'<a href="{quote(row.pod.link)}">{shown[of_pod]}</a>'
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in shown)}</tr>\n"
    yield "</tbody></table>"


def _cell(text: str) -> str:
    if text in {"high", "medium", "low"}:
        return f"<span class='badge {text}'>{text}</span>"
    return safe(text)
