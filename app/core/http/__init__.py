"""What happens to a request before and after its route."""
