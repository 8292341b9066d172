"""The choice of groups to train next, where a few trainings decide."""
