"""Runs: a recipe carried out in a folder."""
