"""Countries: their refresh, their estimates, their picture."""
