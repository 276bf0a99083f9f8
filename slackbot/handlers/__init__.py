"""What Slack calls: each handler acknowledges first, and only then starts the work."""
