"""Predictions to numbers, and numbers to a report. Never runs a model."""
