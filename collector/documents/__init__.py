"""JSON, written as it comes, of what may be any bytes."""
