"""The comparison behind docs/demo.md: groups by affinity alone beside three rivals, three seeds."""
