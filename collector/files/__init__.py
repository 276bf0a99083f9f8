"""A container's files: the merged tree as an archive, and the overlay's changes."""
