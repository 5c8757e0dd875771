"""Asynchronous and bulk jobs."""
