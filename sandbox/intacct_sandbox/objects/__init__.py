"""The object types of the API, and the tables that hold their records."""
