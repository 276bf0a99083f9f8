"""Deciding: the one next action for what was observed. Pure: data in, data out."""
