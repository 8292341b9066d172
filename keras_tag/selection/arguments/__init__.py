"""The arguments of a selection, checked and translated."""
