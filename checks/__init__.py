"""Long checks: faults, security, consistency, pool. ``scripts/checks`` runs them."""
