"""The HTTP face of the API: requests, watches, discovery, access, faults."""
