"""The query language: filters, order, groups, pages."""
