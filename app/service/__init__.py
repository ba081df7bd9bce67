"""Routes about the service itself: the page, health, metrics, documentation."""
