"""Conversion, series and the import of exchange rates."""
