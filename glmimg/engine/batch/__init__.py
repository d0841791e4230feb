"""Batches: job lists are read and checked, then drawn in resumable rounds, on this machine or on a Ray cluster."""
