"""How long a refresh takes, and how it grows with the data."""
