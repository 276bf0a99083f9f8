"""What containerd has of a container's image: its target, and where the content lies."""

from __future__ import annotations

from collections.abc import Sequence

from anyio import to_thread

from collector.cri._proto import containerd_pb2 as containerd
from collector.cri.channel import GrpcChannel
from collector.files.overlay import OverlayDirectories
from collector.layers.content import ContentStore, ImageContent
from collector.layers.promised import ImageLayers
from collector.node.host import Host
from collector.runtimes.runtime import Unavailable
from forensics_core.errors import ContainerGone

_IMAGES = "containerd.services.images.v1.Images"
_CONTAINERS = "containerd.services.containers.v1.Containers"
_INTROSPECTION = "containerd.services.introspection.v1.Introspection"
_CONTENT = "io.containerd.content.v1"


async def target(channel: GrpcChannel, names: Sequence[str], namespace: str) -> str:
    """Return the digest of the manifest, or index, that one of the names stands for.

    Raises `Unavailable` where containerd knows none of them any more.
    """
    for name in names:
        request = containerd.GetImageRequest(name=name)
        try:
            said = await channel.call(
                f"{_IMAGES}/Get", request, containerd.GetImageResponse, namespace=namespace
            )
        except ContainerGone:
            continue
        return said.image.target.digest
    raise Unavailable("containerd has the container's image no longer", reason="NotFound")


async def image_name(channel: GrpcChannel, container: str, namespace: str) -> str:
    """Return what the container's image was called when it was made."""
    request = containerd.GetContainerRequest(id=container)
    said = await channel.call(
        f"{_CONTAINERS}/Get", request, containerd.GetContainerResponse, namespace=namespace
    )
    return said.container.image


async def content_store(channel: GrpcChannel, host: Host) -> ContentStore:
    """Return containerd's store. Raises `Unavailable` where it does not say where it is."""
    request = containerd.PluginsRequest(filters=[f"type=={_CONTENT}"])
    said = await channel.call(f"{_INTROSPECTION}/Plugins", request, containerd.PluginsResponse)
    for plugin in said.plugins:
        if root := plugin.exports.get("root"):
            return ContentStore(host, root)
    raise Unavailable("containerd does not say where its content is", reason="NotSupported")


async def unpacked_layers(
    store: ContentStore, digest: str, config: str, layers: OverlayDirectories
) -> ImageLayers:
    """Return the layers of the image with that configuration, beneath the manifest or index."""

    def wanted(image: ImageContent) -> bool:
        return image.config == config

    def find() -> ImageLayers:
        image = store.find(digest, wanted)
        unpacked = store.layers(image, layers.lower_layers[::-1])
        return ImageLayers(image.config, unpacked, store.host, layers.marks, image.manifest)

    return await to_thread.run_sync(find)
