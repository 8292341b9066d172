"""Group scores: the closed forms, and what trained groups measured."""
