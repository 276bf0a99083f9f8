"""What the API knows of each kind: resources, their places in URLs, errors, seeds."""
