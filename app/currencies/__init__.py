"""Currencies: names, symbols, decimals, and where and since when they are used."""
