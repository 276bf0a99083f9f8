"""Docker, through its API."""
