"""The `x-kubernetes-validations` of a schema: rules in the Common Expression Language.

Evaluated by `common-expression-language`, with the string and list functions that Kubernetes adds
to CEL. What only Kubernetes has beyond them (`cidr`, `ip`, `url`, `quantity`) is unknown here, and
a rule with something unknown passes: the loopback cluster never refuses what a real one accepts.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

import cel
from cel.stdlib import add_stdlib_to_context

from forensics_core.errors import ForensicsError
from forensics_loopback.kinds.objects import Obj

_OLD = re.compile(r"\boldSelf\b")
_RESERVED = frozenset(
    ("as", "break", "const", "continue", "else", "false", "for", "function", "if", "import")
) | frozenset(
    ("in", "let", "loop", "namespace", "null", "package", "return", "true", "var", "void", "while")
)
"""Words of CEL: a field of such a name is spelled `__name__` in rules."""


class Unsupported(ForensicsError):
    """The expression is no CEL, or uses a function that is not known here."""


class EvaluationFailed(ForensicsError):
    """The expression reads a field that is not there, or mixes types."""


def broken(rule: Obj, value: Any, old: Any) -> str | None:
    """The message of a rule that `value` breaks, or None.

    A rule about `oldSelf` is for updates only.
    """
    if old is None and _OLD.search(rule["rule"]):
        return None
    scope = {"self": value, "oldSelf": old}
    try:
        kept = evaluate(rule["rule"], scope)
    except Unsupported:
        return None
    except EvaluationFailed as error:
        return f"{error.message}"
    return None if kept else _message(rule, scope)


def _message(rule: Obj, scope: Obj) -> str:
    if "messageExpression" in rule:
        try:
            return str(evaluate(rule["messageExpression"], scope))
        except (Unsupported, EvaluationFailed):
            pass
    return str(rule.get("message") or f"failed rule: {rule['rule']}")


def evaluate(source: str, scope: Obj) -> Any:
    """The expression's value; raises `Unsupported` or `EvaluationFailed`."""
    try:
        return _value(source, json.dumps(scope))
    except ValueError as error:
        raise Unsupported(f"Cannot read the CEL expression {source!r}: {error}") from error
    except RuntimeError as error:
        # The library has one exception for all that fails within functions; only its text tells
        # an unknown function, or one that is unknown for this type, from one that failed.
        kind = Unsupported if str(error).startswith("Undefined") else EvaluationFailed
        raise kind(f"Cannot evaluate {source!r}: {error}") from error
    except (LookupError, TypeError) as error:
        raise EvaluationFailed(f"Cannot evaluate {source!r}: {error}") from error


# The rules about the spec are asked again at every change of the status, with the same answer; the
# library takes a tenth of a millisecond for each.
@lru_cache(maxsize=1024)
def _value(source: str, scope: str) -> Any:
    context = cel.Context({name: _escaped(value) for name, value in json.loads(scope).items()})
    add_stdlib_to_context(context)
    return _compiled(source).execute(context)


@lru_cache(maxsize=256)
def _compiled(source: str) -> cel.Program:
    return cel.compile(source)


def _escaped(value: Any) -> Any:
    """The value with the names of its fields as rules spell them."""
    if isinstance(value, dict):
        return {
            f"__{key}__" if key in _RESERVED else key: _escaped(item) for key, item in value.items()
        }
    return [_escaped(item) for item in value] if isinstance(value, list) else value
