"""Noiseprint: a learned camera noise pattern and the blind search for what does not follow it."""
