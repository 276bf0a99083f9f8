"""Label and field selectors: `app=x,tier!=db,env in (a, b),!legacy` and `metadata.name=web`."""

from __future__ import annotations

import re
from collections.abc import Callable

from forensics_loopback.kinds.objects import Obj, lookup
from forensics_loopback.kinds.status import bad_request

Predicate = Callable[[Obj], bool]
_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_SET = re.compile(rf"^({_NAME})\s+(in|notin)\s+\(([^()]*)\)$")
_EQUAL = re.compile(rf"^({_NAME})\s*(==|=|!=)\s*([^=!,()\s]*)$")
_EXISTS = re.compile(rf"^(!?)\s*({_NAME})$")
_COMMA = re.compile(r",(?![^()]*\))")
_TOKEN = re.compile(r"==|!=|=|[^\s=!]+|!")


def parse_labels(text: str) -> Predicate:
    """A label selector as a predicate on objects; raises a 400 for nonsense."""
    terms = [_label_term(term.strip()) for term in _COMMA.split(text)] if text.strip() else []
    return lambda obj: all(term(lookup(obj, "metadata.labels") or {}) for term in terms)


def _label_term(term: str) -> Callable[[dict[str, str]], bool]:
    if match := _SET.match(term):
        key, operator, values = match[1], match[2], {v.strip() for v in match[3].split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match := _EQUAL.match(term):
        key, operator, value = match.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match := _EXISTS.match(term):
        absent, key = match.groups()
        return lambda labels: (key in labels) != bool(absent)
    found = _TOKEN.match(term)
    raise bad_request(
        f"found '{found[0] if found else term}', expected: !, identifier, or 'end of string'"
    )


def parse_fields(text: str) -> Predicate:
    """A field selector as a predicate on objects as they are stored; raises a 400 for nonsense."""
    terms = [_field_term(term) for term in text.split(",")] if text else []
    return lambda obj: all(term(obj) for term in terms)


def _field_term(term: str) -> Predicate:
    match = re.match(r"^([^=!]+)(==|=|!=)(.*)$", term)
    if match is None:
        raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    path, operator, wanted = match.groups()
    # Events are stored as core/v1 has them, whichever view asks.
    path = re.sub(r"^regarding\b", "involvedObject", path)
    path = "reportingComponent" if path == "reportingController" else path

    def matches(obj: Obj) -> bool:
        return (str(lookup(obj, path, "")) == wanted) != (operator == "!=")

    return matches


def parse_selectors(labels: str, fields: str) -> Predicate:
    """Both selectors of a request in one predicate."""
    by_label, by_field = parse_labels(labels), parse_fields(fields)
    if not labels and not fields:
        return lambda _: True
    return lambda obj: by_label(obj) and by_field(obj)
