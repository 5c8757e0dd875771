"""Compare the sandbox with recordings of the real API, and say how each fact is known."""
