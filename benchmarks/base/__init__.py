"""Shared by the parts: processes, databases, load, tables."""
