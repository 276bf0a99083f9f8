"""What all objects of ours in a cluster have: metadata, and one way to be read.

checkpoint = PodCheckpoint.parse(json.loads(answer))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError

from forensics_core._internal.arguments import PublicModel
from forensics_core.api.conditions import Time
from forensics_core.api.names import API_VERSION
from forensics_core.api.order import Model
from forensics_core.errors import UsageError


class ObjectMeta(Model):
    """The parts of an object's metadata that matter here."""

    name: str = ""
    generate_name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()


class CustomResource(PublicModel, Model):
    """An object of one of our kinds."""

    explained_as: ClassVar[str]
    """What `kubectl explain` knows the kind by."""

    api_version: Literal["forensics.orkaproj.io/v1alpha1"] = API_VERSION
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Read an object as the cluster returned it; fields that are not known are left out.

        Raises `UsageError` that names the first field which does not fit.
        """
        try:
            return cls.model_validate(data, extra="ignore")
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the object"
            raise UsageError(
                f"This is not a {cls.__name__} of {API_VERSION}: {where}: {first['msg']}",
                hint=f"Compare it with `kubectl explain {cls.explained_as}`",
            ) from error
