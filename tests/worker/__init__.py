"""Workers: a model kept loaded between commands."""
