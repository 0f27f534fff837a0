"""A user's own script, of a name that is taken in many projects: nothing of ours imports it."""

raise RuntimeError("the user's export.py was imported")
