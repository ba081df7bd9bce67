"""Delivery tracking: batches of SMS (transfers) and their messages (documents)."""
