"""Settings: a YAML file, completed from the environment, checked by a model.

::

    data = read_settings(path, document="docs/operator.md")
    settings = check_settings(Settings, data, path, document="docs/operator.md")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from forensics_core.errors import UsageError

SettingsModel = TypeVar("SettingsModel", bound=BaseModel)


def read_settings(path: Path | None, *, document: str) -> dict[str, Any]:
    """Return what the file says; nothing without a file. Raises `UsageError`.

    `document` is the page that tells what can be set.
    """
    if path is None:
        return {}
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: it is no UTF-8
        why = " ".join(str(error).split())  # those of YAML span lines
        raise UsageError(f"{path} cannot be read: {why}", hint="Mount the settings") from error
    if data is not None and not isinstance(data, dict):
        raise UsageError(f"{path} holds no settings", hint=f"See {document} for an example")
    return data or {}


def check_settings(
    model: type[SettingsModel],
    data: Mapping[str, Any],
    path: Path | None,
    *,
    document: str,
    variables: Mapping[str, str] | None = None,
) -> SettingsModel:
    """Return the settings. Raises `UsageError` that names the first one which does not fit.

    `variables` names those that come from the environment, by their name in the model.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # Without what was given: it may be a secret.
        first = error.errors(include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "the settings"
        name = (variables or {}).get(name, name)
        raise UsageError(
            f"{path or 'The environment'}: {name}: {first['msg']}",
            hint=f"See {document} for what can be set",
        ) from error
