"""Bulk loads of documents."""
