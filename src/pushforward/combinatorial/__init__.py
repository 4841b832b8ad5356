"""Combinatorial problems."""
