"""The exact choice: columns, their linear programme and CP-SAT."""
