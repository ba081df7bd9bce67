"""Accounts with addresses, sign-in and API keys."""
