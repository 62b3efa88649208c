"""Metrics that protocols report besides the published ones: a module here with `METRICS` is all that one takes."""
