"""The proofs: column generation with CP-SAT, or CP-SAT alone; for draws a programme in floats."""
