"""Long checks: faults, security, consistency, pool. scripts/test-faults and scripts/test-security run them."""
