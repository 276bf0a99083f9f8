"""A write: its options, what it gives, and what is checked and filled in of its body."""

from __future__ import annotations

from dataclasses import dataclass, field

from forensics_loopback.kinds.objects import Obj, metadata, name_of, random_suffix
from forensics_loopback.kinds.resources import ServedResource
from forensics_loopback.kinds.status import bad_request, invalid
from forensics_loopback.storage import updates
from forensics_loopback.validation import admission, names, schema


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """The query parameters of a write."""

    manager: str = ""
    """The field manager; nobody's fields are tracked where it is empty."""
    dry_run: bool = False
    validation: str = "Warn"
    """`Strict` refuses unknown fields, `Warn` reports them, `Ignore` drops them silently."""
    force: bool = False


@dataclass(slots=True)
class WriteResult:
    """What a write gave."""

    object: Obj
    created: bool = False
    warnings: list[str] = field(default_factory=list)


def give_name(obj: Obj, resource: ServedResource) -> None:
    """Make a name out of `generateName` where there is none."""
    meta = metadata(obj)
    if not meta.get("name") and meta.get("generateName"):
        # The server cuts every prefix so that the name fits a label.
        meta["name"] = meta["generateName"][:58] + random_suffix()


def schema_of(resource: ServedResource) -> Obj | None:
    """Return the schema of a custom resource; None of a built-in one."""
    return (resource.schema or {}) if resource.custom else None


def check_kind(resource: ServedResource, body: Obj) -> None:
    """Fill in apiVersion and kind, and refuse others; raises 400."""
    kind, version = body.get("kind", resource.kind), body.get("apiVersion", resource.api_version)
    if (kind, version) != (resource.kind, resource.api_version):
        raise bad_request(
            f"the API version in the data ({version}, Kind={kind}) does not match the expected API "
            f"version ({resource.api_version}, Kind={resource.kind})"
        )
    body.setdefault("kind", resource.kind)
    body.setdefault("apiVersion", resource.api_version)


def admit(
    resource: ServedResource, obj: Obj, old: Obj | None, options: WriteOptions
) -> WriteResult:
    """Default, prune and validate an object in place; raises 400 or 422."""
    written = WriteResult(obj)
    if resource.custom:
        rules = resource.schema or {}
        _report_unknown(resource, schema.prune(obj, rules), options, written)
        schema.fill_defaults(obj, rules)
        causes = [*names.check(obj, resource), *schema.validate(obj, old, rules)]
    else:
        if resource.qualified == "secrets":
            admission.fold_string_data(obj)
        causes = [*names.check(obj, resource), *updates.immutable(resource, obj, old)]
        causes += admission.check(obj, resource)
    if causes:
        raise invalid(resource, name_of(obj), causes)
    if not resource.custom and old is None:
        admission.fill_in(obj, resource)
    return written


def _report_unknown(
    resource: ServedResource, pruned: list[str], options: WriteOptions, written: WriteResult
) -> None:
    unknown = [f'unknown field "{path}"' for path in pruned]
    if unknown and options.validation == "Strict":
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a '
            f"{resource.kind}: strict decoding error: " + ", ".join(unknown)
        )
    if options.validation == "Warn":
        written.warnings = unknown
