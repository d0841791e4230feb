"""The two stages for other programs, over HTTP, in the form OpenAI's clients speak."""
