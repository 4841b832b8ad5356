"""Distances between samples and data, each printed with the feature space it was measured in."""
