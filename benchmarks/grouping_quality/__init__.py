"""The yardstick: every group of tasks trained, every way to choose groups held against the best.

python -m benchmarks.grouping_quality --help
"""
