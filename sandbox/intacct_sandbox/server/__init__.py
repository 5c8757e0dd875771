"""Serve the sandbox over HTTP: the routes together, a server in this process or a thread."""
