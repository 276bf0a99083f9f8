"""The stand-in's channel in a browser, as Slack would show it; and a browser to drive it with."""
