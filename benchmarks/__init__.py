"""Measurements of the service, side by side with other ways of answering; run ``scripts/bench``."""
