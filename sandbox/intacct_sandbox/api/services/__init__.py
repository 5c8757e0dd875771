"""The small services of the core and the company."""
