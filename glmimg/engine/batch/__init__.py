"""Many jobs: lists of them read and checked, drawn in rounds that survive, here or on a Ray cluster."""
