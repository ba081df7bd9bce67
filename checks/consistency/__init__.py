"""Reads during refreshes: every answer is whole, and as new as promised."""
