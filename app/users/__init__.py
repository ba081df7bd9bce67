"""Accounts with addresses, sign-in, API keys."""
