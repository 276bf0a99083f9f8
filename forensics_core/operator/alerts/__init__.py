"""Alerts from Falco: taken over HTTPS, bounded in every respect, handed to the rules."""
