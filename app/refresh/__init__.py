"""The main job: fetch countries and rates, estimate, store, draw."""
