"""Captions as text, and where they go: a file, a folder, a terminal; runs that go on where they stopped."""
