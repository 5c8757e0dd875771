"""A multi-entity Sage Intacct company in DuckDB, and reconciled transactions back into Intacct."""

__version__ = "0.2.0"
