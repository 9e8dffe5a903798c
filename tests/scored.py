"""Four clips, what was said of them, and a program that stands in for METEOR."""

from aaccli.metrics.reading import Pairs

CANDIDATES = ["a dog barks", "rain falls on a roof", "a dog barks", "birds sing"]
REFERENCES = [
    ["a dog barks", "the dog is barking loudly"],
    ["rain is falling on a metal roof", "heavy rain falls"],
    ["a cat meows", "a small cat cries"],
    ["birds are singing in a tree", "a bird sings"],
]


def of(candidates=CANDIDATES, references=REFERENCES, systems=None):
    files = tuple(f"{i}.wav" for i in range(len(references)))
    return Pairs(files, tuple(map(tuple, references)), systems or {"system": tuple(candidates)})


METEOR_PROGRAM = """
if '-stdio' not in sys.argv:
    for line in sys.stdin: print(line, end='')
    sys.exit()
for line in sys.stdin:
    if line.startswith('SCORE'): print('1 ' * 23, flush=True)
    else: print('0.5\\n' * (line.count('|||') + 1), end='', flush=True)
"""
