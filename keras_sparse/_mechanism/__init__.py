"""Layers that train other weights than they compute with."""
