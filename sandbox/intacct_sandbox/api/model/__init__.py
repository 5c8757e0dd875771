"""`/services/core/model`: what an object looks like."""
