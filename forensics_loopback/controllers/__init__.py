"""Scheduler and Job controller: clients of the API."""
