"""Time of a refresh, and its growth with the data."""
