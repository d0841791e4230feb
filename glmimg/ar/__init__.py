"""Stage 1: a prompt becomes grids of visual tokens. Knows nothing of diffusers."""
