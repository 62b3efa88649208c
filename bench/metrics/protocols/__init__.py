"""The protocols: a file here with `PROTOCOLS`, and `METRICS` that no other file has, is all that one takes."""
