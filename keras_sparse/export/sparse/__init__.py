"""Sparse encodings of a file's constants."""
