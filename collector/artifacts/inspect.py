"""`inspect.json` and `image.json`: what the runtime says of the container and of its image."""

from __future__ import annotations

from collector.scene import Scene
from forensics_core.api.order import ArtifactKind
from forensics_core.errors import ContainerGone


async def capture(scene: Scene) -> None:
    """Store what the runtime said when the capture began, byte for byte, and its word on the image.

    An image that was removed meanwhile is recorded as missing.
    """
    kind = ArtifactKind.INSPECT
    await scene.add_json("inspect.json", kind, scene.container.document, method="engine-api")
    try:
        image = await scene.runtime.image(scene.container)
    except ContainerGone as error:
        scene.lacks("image.json", "Gone", f"The image was removed: {error}", requested=False)
        return
    await scene.add_json("image.json", kind, image, method="engine-api")
