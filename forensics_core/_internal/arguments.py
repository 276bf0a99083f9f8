"""A caller's arguments that do not fit: one line of ours in place of pydantic's report.

with checked_arguments({"destination": "to"}):
    spec = PodCheckpointSpec.model_validate(fields)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pydantic import ValidationError

from forensics_core.errors import UsageError


@contextmanager
def checked_arguments(
    names: Mapping[str, str], *, hint: str = "", model: str = ""
) -> Iterator[None]:
    """Raise `UsageError` that names the first argument which does not fit.

    `names` says how the caller knows the model's fields, where it does not by their own names.
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
        raise UsageError(f"{argument}: {first['msg']}: {first['input']!r}", hint=hint) from error
