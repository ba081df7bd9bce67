"""The outside world: where countries and exchange rates come from."""
