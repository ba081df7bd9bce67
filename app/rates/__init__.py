"""Exchange rates of the day."""
