"""Answers kept in memory: storage, codings, conditional requests."""
