"""Reads during refreshes: every response is complete and as recent as promised."""
