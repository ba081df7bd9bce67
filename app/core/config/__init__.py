"""Settings from the environment, and the addresses that they contain."""
