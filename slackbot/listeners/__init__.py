"""What Slack calls: each listener acknowledges first, and does nothing but start the work."""
