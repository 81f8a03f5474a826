"""Which weights go: what scores are told, masks, and what mends the rest."""
