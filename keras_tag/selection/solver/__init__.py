"""The proofs: column generation with CP-SAT, and CP-SAT alone over measured groups."""
