"""`/checkpoint`: evidence of a pod, asked for and followed in the incident's Slack channel.

The bot has no right to capture anything. It checks who asks, makes a PodCheckpoint on their behalf,
and reports what becomes of it; the operator does the rest.
"""
