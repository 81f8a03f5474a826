"""Rounds of a search, and what is kept of them."""
