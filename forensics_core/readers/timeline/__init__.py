"""All times of all sources of a bundle, in one order."""
