"""A small connection pool under clients that hang up."""
