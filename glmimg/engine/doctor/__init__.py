"""Does this machine draw right, and how fast: what it is, every fast path beside the plain one, and the clock."""
