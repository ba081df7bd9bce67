"""What the parts share: processes, databases, load, tables."""
