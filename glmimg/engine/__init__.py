"""Runs jobs through the stages and writes their results to disk."""
