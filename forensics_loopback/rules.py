"""The `x-kubernetes-validations` of a schema, evaluated as far as `cel` understands them."""

from __future__ import annotations

import re
from typing import Any

from forensics_loopback import cel
from forensics_loopback.objects import Obj

_OLD = re.compile(r"\boldSelf\b")


def broken(rule: Obj, value: Any, old: Any) -> str | None:
    """The message of a rule that `value` breaks, or None.

    A rule about `oldSelf` is for updates only. One that is not understood passes: the loopback
    cluster never refuses what a real one would accept.
    """
    if old is None and _OLD.search(rule["rule"]):
        return None
    scope = {"self": value, "oldSelf": old}
    try:
        kept = cel.evaluate(rule["rule"], scope)
    except cel.Unsupported:
        return None
    except cel.EvaluationFailed as error:
        return f"{error.message}"
    return None if kept else _message(rule, scope)


def _message(rule: Obj, scope: cel.Scope) -> str:
    if "messageExpression" in rule:
        try:
            return str(cel.evaluate(rule["messageExpression"], scope))
        except (cel.Unsupported, cel.EvaluationFailed):
            pass
    return str(rule.get("message") or f"failed rule: {rule['rule']}")
