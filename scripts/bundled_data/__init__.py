"""Builds the data files that ship with the service."""
