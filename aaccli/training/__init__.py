"""Training runs: their settings, the loop, what they leave on disk."""
