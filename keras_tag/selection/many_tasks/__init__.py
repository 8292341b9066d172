"""The search for networks of more than 15 tasks, which are too many to list."""
