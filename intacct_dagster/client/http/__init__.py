"""A request and its response: addresses, transport, limits, usage, and what an error means."""
