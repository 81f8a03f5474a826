"""Timing files side by side, in processes of their own."""
