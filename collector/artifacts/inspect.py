"""`inspect.json` and `image.json`: what the runtime says of the container and of its image."""

from __future__ import annotations

from collector.container import ContainerCapture
from forensics_core.api.order import ArtifactKind
from forensics_core.errors import ContainerGone


async def collect(capture: ContainerCapture) -> None:
    """Store what the runtime said when the capture began, byte for byte, and its word on the image.

    An image that was removed meanwhile is recorded as missing.
    """
    kind = ArtifactKind.INSPECT
    await capture.add_json("inspect.json", kind, capture.container.document, method="engine-api")
    try:
        image = await capture.runtime.image(capture.container)
    except ContainerGone as error:
        capture.record_gap("image.json", "Gone", f"The image was removed: {error}", requested=False)
        return
    await capture.add_json("image.json", kind, image, method="engine-api")
