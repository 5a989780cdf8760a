"""Ossicle."""
