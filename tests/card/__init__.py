"""A pretended CUDA card for machines without one, and what the program does on it."""
