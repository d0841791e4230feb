"""Mutated files thrown at the real program, and what must never come of it."""
