"""Start, memory and several processes."""
