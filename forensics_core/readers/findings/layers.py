"""Rules over the layers of a container's image: `layers.json`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forensics_core._internal.text import printable
from forensics_core.readers.findings.documents import DocumentRow, text

_WORDS = {
    "content": "other content than the image's",
    "metadata": "other details than the image's",
    "type": "something else than in the image",
    "missing": "missing, though the image has it",
    "extra": "not in the image",
}
_DETAILS = ("mode", "uid", "gid", "capabilities", "size", "mtime", "target", "sha256", "link")
_MOST = 200
"""Letters of a value that are shown."""


def look_at_layer(row: DocumentRow) -> Iterator[tuple[str, str]]:
    """Yield path and detail of each difference; without a path, what is about the whole layer."""
    layer = printable(text(row.get("diffId")), 80) or "between image and container"
    if row.get("reason") == "BlobDiffers":
        yield "", f"{printable(text(row.get('message')), _MOST)}, of the layer {layer}"
        return
    found = row.get("differences")
    for each in found if isinstance(found, list) else []:
        if isinstance(each, dict):
            what = _WORDS.get(text(each.get("difference")), "different")
            told = "".join(_spelled(name, each.get(name)) for name in _DETAILS)
            path = text(each.get("path"))
            yield "" if path == "/" else path, f"{what}{told}, in the layer {layer}"


def _spelled(name: str, both: Any) -> str:
    if not isinstance(both, dict):
        return ""
    image, node = (printable(str(both.get(side)), _MOST) for side in ("image", "node"))
    return f", {name} {node}, in the image {image}"
