"""Trainings of a masked model."""
