"""Scores of captions, as the COCO caption evaluation computes them.

reading.py -> tokenization.py -> coco.py, meteor.py, spice.py (, fense.py) -> evaluation.py -> bootstrap.py, output.py

Nothing here imports torch at the top: captions of another system are scored without it.
"""
