"""Judges: a language model with fixed rubrics, and rules that need none."""
