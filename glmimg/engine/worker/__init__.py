"""A model kept loaded between commands: the stages of one choice in a process of their own, behind a Unix socket."""
