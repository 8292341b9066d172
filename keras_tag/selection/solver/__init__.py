"""The proofs: column generation with CP-SAT, and branch and bound over measured groups."""
