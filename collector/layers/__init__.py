"""Whether the image's layers on the node are what the image promises."""
