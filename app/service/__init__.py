"""What the service says about itself: the page, health, metrics, documentation."""
