"""Sends a large batch of SMS documents to a running service."""
