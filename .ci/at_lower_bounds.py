"""Fails if an installed version is not the lower bound that setup.py states for it."""

import sys
from importlib.metadata import requires, version

from packaging.requirements import Requirement
from packaging.version import Version

above = {}
for text in requires("keras_tag") or []:
    requirement = Requirement(text)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": "test"}):
        continue
    bound = next(s.version for s in requirement.specifier if s.operator == ">=")
    installed = version(requirement.name)
    if Version(installed) != Version(bound):
        above[str(requirement)] = installed
if above:
    sys.exit(f"lower bounds that can't be installed, and what was: {above}")
