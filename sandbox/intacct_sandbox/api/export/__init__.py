"""`/services/core/export`: the rows of a query as a file."""
