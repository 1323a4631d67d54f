"""Tuning: random search for training settings, by short trainings."""
