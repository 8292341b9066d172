"""Which groups to train next, when a few trainings may decide."""
