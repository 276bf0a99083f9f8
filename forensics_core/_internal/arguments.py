"""A caller's arguments that do not fit: one line of ours in place of pydantic's report.

with checked_arguments({"destination": "to"}):
    spec = PodCheckpointSpec.model_validate(fields)

class Retention(PublicModel, Model): ...

Retention(days=0)  # raises UsageError
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from forensics_core.errors import UsageError


@contextmanager
def checked_arguments(
    names: Mapping[str, str],
    *,
    takes: Mapping[str, str] | None = None,
    hint: str = "",
    model: str = "",
) -> Iterator[None]:
    """Raise `UsageError` that names the first argument which does not fit.

    `names` says how the caller knows the model's fields, where it does not by their own names, and
    `takes` what such a field takes, for people who read no patterns: `a name of letters`.
    With `model` only what that model refuses is the caller's fault; anything else passes through.
    """
    try:
        yield
    except ValidationError as error:
        if model and error.title != model:
            raise
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        argument = names.get(field, field)
        said = f"{first['msg']}: {first['input']!r}"
        if first["type"].startswith("string_") and field in (takes or {}):
            said = f"{_shown(first['input'])} is not {(takes or {})[field]}"
        raise UsageError(f"{argument}: {said}", hint=hint) from error


class _CheckedConstructor(type(BaseModel)):  # type: ignore[misc]  # its base is computed
    """Lets a call of the class raise `UsageError`, and nothing else.

    An `__init__` of ours could not do that: pydantic would call it for models within models too,
    and `model_validate` has to go on raising what pydantic and our readers of documents expect.
    """

    def __call__(cls, *args: Any, **given: Any) -> Any:
        try:
            return super().__call__(*args, **given)
        except ValidationError as error:
            raise _refusal(cls, given, error) from error


def _refusal(
    model: type[BaseModel], given: Mapping[str, Any], error: ValidationError
) -> UsageError:
    first = error.errors()[0]
    aliases = {field.alias: name for name, field in model.model_fields.items() if name in given}
    path = [str(part) for part in first["loc"]]
    where = ".".join([aliases.get(part, part) for part in path[:1]] + path[1:])
    # Where a field is missing, pydantic's input is all the others.
    value = "" if first["type"] == "missing" else f": {_shown(first['input'])}"
    title = f"{model.__name__}.{where}" if where else model.__name__
    return UsageError(
        f"{title}: {first['msg']}{value}", hint=f"help({model.__name__}) has what its fields take"
    )


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


_MAX_SHOWN = 200
"""Characters of a refused value that are worth showing."""


if TYPE_CHECKING:
    # Type checkers know the fields as the constructor's arguments, which `__call__` would hide.
    class PublicModel(BaseModel): ...

else:

    class PublicModel(BaseModel, metaclass=_CheckedConstructor):
        """What scripts make themselves: `UsageError` says which field does not fit, and why."""
