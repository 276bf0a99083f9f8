"""Holding containers still, and letting them go whatever happens."""
