"""The API as kubelet and controllers see it, over HTTP or within the same process."""
