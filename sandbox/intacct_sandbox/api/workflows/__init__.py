"""`/workflows/…`: actions on documents."""
