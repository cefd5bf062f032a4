"""Prompts: one set of message types, and for each family the exact token layout it was trained with."""
