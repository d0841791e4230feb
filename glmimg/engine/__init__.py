"""Runs jobs through the stages and puts what they make on disk."""
