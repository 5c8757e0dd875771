"""`/objects/…`: records by key."""
