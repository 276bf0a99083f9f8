"""A tar archive indexed as it passes: one row a member, and a table that finds rows by path."""
