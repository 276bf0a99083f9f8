"""botocore's event handlers that look at each request and do nothing for any of ours.

They are a tenth of what a small object costs. A handler whose name is not known to a later botocore
any more just stays away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.handlers import BUILTIN_HANDLERS

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

IDLE = {
    # Of parameters that none of our requests has: keys of the customer's own, metadata, trailers.
    *("sse_md5", "validate_ascii_metadata", "_handle_request_validation_mode_member"),
    *("generate_idempotent_uuid", "convert_body_to_file_like_object"),
    # Of Lambda, of other services, and of retries, which are ours.
    *("add_recursion_detection_header", "inject_api_version_header_if_needed", "add_retry_headers"),
    # Of a header that nobody reads.
    "handle_expires_header",
}
"""By name, as several of them have no other public one."""
_RETRIES = "retry-config-s3"


def leave_out_idle_handlers(client: S3Client) -> None:
    """Have `client` call only handlers that do something for some request of ours."""
    events: Any = client.meta.events
    for event, handler, *_ in BUILTIN_HANDLERS:
        if getattr(handler, "__name__", "") in IDLE:
            events.unregister(event, handler)
    # It is told to try once, and looks at every answer to find that it has.
    events.unregister("needs-retry.s3", unique_id=_RETRIES)
