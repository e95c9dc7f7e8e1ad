"""From a known law to another along a path, with weights: partition functions."""
