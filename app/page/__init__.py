"""The page for people at ``/``: made here from what is stored; its script only adds sorting, filters and buttons."""
