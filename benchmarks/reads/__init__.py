"""Speed of reads."""
