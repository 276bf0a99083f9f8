"""Objects in a bucket or a folder: created once and never overwritten, read, listed."""
