"""Parsing what was typed after `/checkpoint`. Pure: text in, a request out.

    parse('web-0 -n shop --reason "odd traffic"')

Phones turn quotes and dashes into others; those are turned back first.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from forensics_core.api.podcheckpoint import AfterCapture
from forensics_core.api.selection import LIMIT, PodQuery
from forensics_core.errors import UsageError
from slackbot.errors import UserMessage
from slackbot.text import as_typed

REASON_LIMIT = 1024
"""Characters, as in the resource."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_INCIDENT = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_OPTIONS = {
    "-n": "namespace",
    "--n": "namespace",
    "--namespace": "namespace",
    "-c": "container",
    "--c": "container",
    "--container": "container",
    "--reason": "reason",
    "--incident": "incident",
    "-l": "selector",
    "--l": "selector",
    "--selector": "selector",
    "--owner": "owner",
    "--node": "node",
    "--image": "image",
    "--limit": "limit",
    "--after-capture": "after",
}
"""`--n` is what some phones make of `-n`."""
_EVERYWHERE = {"-A", "--A", "--all-namespaces"}
_FLAGS = {"--dry-run", "--isolate", "--again", "--all", *_EVERYWHERE}
_SELECTING = ("selector", "owner", "node", "image")
_AFTER = {
    "keep": AfterCapture.KEEP,
    "delete": AfterCapture.DELETE,
    "delete-even-if-partial": AfterCapture.DELETE_EVEN_IF_PARTIAL,
}
MAX_PODS = 1000
"""Pods of one request at most, whatever limit is given: one message shows them all."""


class Verb(StrEnum):
    """The subcommands."""

    STATUS = "status"
    LIST = "list"
    CANCEL = "cancel"
    RETRY = "retry"
    VERIFY = "verify"
    RELEASE = "release"
    WHOAMI = "whoami"
    HELP = "help"


_ABOUT_ONE = {Verb.STATUS, Verb.CANCEL, Verb.RETRY, Verb.VERIFY, Verb.RELEASE}


@dataclass(frozen=True, slots=True)
class OpenForm:
    """Nothing was typed: show the form."""


@dataclass(frozen=True, slots=True)
class Subcommand:
    """A subcommand, and the checkpoint that it is about."""

    verb: Verb
    name: str = ""


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """A pod is to be captured."""

    pod: str
    namespace: str
    containers: tuple[str, ...] = ()
    reason: str = ""
    incident: str = ""
    dry_run: bool = False
    isolate: bool = False
    after_capture: AfterCapture = AfterCapture.KEEP


@dataclass(frozen=True, slots=True)
class IncidentRequest:
    """All pods that match are to be captured."""

    query: PodQuery
    how: CaptureRequest
    """How each is captured; its pod and namespace stand for any."""
    limit: int = LIMIT
    again: bool = False
    """Also those that are captured already, or under way."""


@dataclass(slots=True)
class _CommandWords:
    names: list[str] = field(default_factory=list)
    options: dict[str, list[str]] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)


def parse(
    text: str, default_namespace: str | None = None
) -> OpenForm | Subcommand | CaptureRequest | IncidentRequest:
    """Return what was typed, parsed. Raises `UserMessage` that names the problem."""
    words = _split(as_typed(text))
    if not words:
        return OpenForm()
    # A pod that is called `list` is captured as `shop/list`.
    if words[0] in set(Verb):
        return _subcommand(Verb(words[0]), words[1:])
    sorted_words = _sort(words)
    if "--all" in sorted_words.flags or set(_SELECTING) & sorted_words.options.keys():
        return _parse_incident(sorted_words, default_namespace)
    return _parse_capture(sorted_words, default_namespace)


def capture_request(
    pod: str,
    namespace: str,
    containers: tuple[str, ...] = (),
    reason: str = "",
    incident: str = "",
    *,
    dry_run: bool = False,
    isolate: bool = False,
    after_capture: AfterCapture = AfterCapture.KEEP,
) -> CaptureRequest:
    """Return a request, once it is found to be one. Raises `UserMessage`."""
    for name in (pod, namespace, *containers):
        if not is_name(name):
            raise problem("error.name", name=name)
    if len(reason) > REASON_LIMIT:
        raise problem("error.reason", count=len(reason), limit=REASON_LIMIT)
    if not _INCIDENT.fullmatch(incident):
        raise problem("error.incident", incident=incident)
    what = (pod, namespace, containers, reason, incident, dry_run)
    return CaptureRequest(*what, isolate=isolate, after_capture=after_capture)


def is_name(text: str) -> bool:
    """Return whether Kubernetes could have an object of that name."""
    return bool(_NAME.fullmatch(text))


def problem(key: str, **values: object) -> UserMessage:
    """Return the error that names what is wrong with a command."""
    return CommandError(key, **values)


class CommandError(UserMessage):
    """A command that makes no sense; its words come with an example of one that does."""

    def text(self, language: str) -> str:
        """Return the problem, and what to type instead."""
        inner = super().text(language)
        return UserMessage("error.usage", problem=inner).text(language)


def _split(text: str) -> list[str]:
    reader = shlex.shlex(text, posix=True, punctuation_chars=False)
    # Only blanks part words: names may hold dots and slashes.
    reader.whitespace_split = True
    # '#' begins a channel's name, and no comment.
    reader.commenters = ""
    # A backslash is a character: nobody escapes anything on a phone.
    reader.escape = ""
    try:
        return list(reader)
    except ValueError as error:
        raise problem("error.quotes") from error


def _subcommand(verb: Verb, rest: list[str]) -> Subcommand:
    if verb not in _ABOUT_ONE:
        return Subcommand(verb)
    if len(rest) != 1:
        raise problem("error.id", command=verb)
    if not is_name(rest[0]):
        raise problem("error.name", name=rest[0])
    return Subcommand(verb, rest[0])


def _sort(words: list[str]) -> _CommandWords:
    sorted_words, rest = _CommandWords(), iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word in _FLAGS:
            sorted_words.flags.add(word)
        elif name in _OPTIONS:
            given = value if equals else _next(rest, name)
            sorted_words.options.setdefault(_OPTIONS[name], []).append(given)
        elif word.startswith("-"):
            raise problem("error.option", option=word)
        else:
            sorted_words.names.append(word)
    return sorted_words


def _next(rest: Iterator[str], option: str) -> str:
    value = next(rest, "")
    if not value or value in _OPTIONS or value in _FLAGS:
        raise problem("error.value", option=option)
    return value


def _parse_capture(words: _CommandWords, default_namespace: str | None) -> CaptureRequest:
    if not words.names:
        raise problem("error.pod")
    if len(words.names) > 1:
        raise problem("error.many", words=" ".join(words.names))
    namespace, pod = _namespace_and_pod(words, default_namespace)
    return _how(words, pod, namespace)


def _parse_incident(words: _CommandWords, default_namespace: str | None) -> IncidentRequest:
    if words.names:
        raise problem("error.both", words=" ".join(words.names))
    namespace = words.options.get("namespace", [default_namespace or ""])[-1]
    everywhere = bool(_EVERYWHERE & words.flags)
    if not (namespace or everywhere):
        raise problem("error.namespace")
    given = {name: words.options.get(name, [""])[-1] for name in _SELECTING}
    # Names and labels go into addresses of the API: what is no name is refused here.
    if given["node"] and not is_name(given["node"]):
        raise problem("error.name", name=given["node"])
    where = None if everywhere else namespace
    try:
        query = PodQuery(where, every="--all" in words.flags, **given)
    except UsageError as error:
        raise problem("error.query", problem=error.message) from error
    how = _how(words, "any", where or "any")
    return IncidentRequest(query, how, _limit(words), again="--again" in words.flags)


def _limit(words: _CommandWords) -> int:
    text = words.options.get("limit", [str(LIMIT)])[-1]
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_PODS):
        raise problem("error.limit", limit=text, most=MAX_PODS)
    return int(text)


def _after(words: _CommandWords) -> AfterCapture:
    text = words.options.get("after", ["keep"])[-1].lower()
    if text not in _AFTER:
        raise problem("error.after", after=text, choices=", ".join(_AFTER))
    return _AFTER[text]


def _how(words: _CommandWords, pod: str, namespace: str) -> CaptureRequest:
    options = words.options
    return capture_request(
        pod,
        namespace,
        tuple(options.get("container", ())),
        # Given twice, both are the reason; of an incident, the last one counts.
        " ".join(options.get("reason", ())),
        options.get("incident", [""])[-1],
        dry_run="--dry-run" in words.flags,
        isolate="--isolate" in words.flags,
        after_capture=_after(words),
    )


def _namespace_and_pod(words: _CommandWords, default: str | None) -> tuple[str, str]:
    """Return namespace and pod; `shop/web-0` is understood too."""
    namespace, slash, pod = words.names[0].partition("/")
    if not slash:
        namespace, pod = words.options.get("namespace", [default or ""])[-1], namespace
    if not namespace:
        raise problem("error.namespace")
    return namespace, pod
