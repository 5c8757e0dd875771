"""The smaller services: query, views, model, session, dimensions, events."""
