"""A Slack on loopback: Web API, Socket Mode, response_url, limits and faults. Not Slack itself."""
