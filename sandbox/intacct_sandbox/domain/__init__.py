"""The company's books and the rules by which they change."""
