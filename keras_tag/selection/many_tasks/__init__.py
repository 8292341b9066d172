"""The search for networks where there are more than 15 tasks: too many groups to list."""
