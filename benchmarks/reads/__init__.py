"""How fast reads are answered."""
