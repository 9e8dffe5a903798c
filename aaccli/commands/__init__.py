"""The verbs of the command line, each a thin shell over the library.

Nothing here imports torch at the top, so that ``aac VERB --help`` answers at once.
"""
