"""Evaluation suite for image forgery localizers: perturbations, protocols, evidence, statistics, checks."""

__version__ = "0.1.0"
