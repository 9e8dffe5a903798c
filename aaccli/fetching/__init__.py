"""Weights and data from afar and in the cache: resumed, checked, kept once."""
