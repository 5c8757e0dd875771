"""`/_sandbox/…`: what tests and people steer the sandbox with."""
