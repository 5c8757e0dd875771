"""`/services/core/query`: rows by filters, order and groups."""
