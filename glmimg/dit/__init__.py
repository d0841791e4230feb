"""Stage 2: a grid of visual tokens becomes pixels. Knows nothing of the AR model."""
