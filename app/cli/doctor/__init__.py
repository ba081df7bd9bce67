"""``python -m app doctor``: checks an installation."""
