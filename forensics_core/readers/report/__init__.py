"""A bundle's story for people: one page, or the same as Markdown or JSON."""
