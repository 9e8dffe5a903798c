"""What would the tests of a module let pass? Mutants of it, a seeded sample, one by one against those tests.

    python tests/benchmarks/mutation.py aaccli/model/beam.py tests/test_beam.py [--sample 60] [--seed 0]

Prints the mutants that no test notices, and how many were killed. What does not end within ten minutes is killed.
"""

import ast
import os
import random
import shutil
import signal
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import pytest
import torchaudio  # noqa: F401 -- with torch, once, before every fork

SWAPS = "Lt LtE, Gt GtE, Eq NotEq, Is IsNot, In NotIn, Add Sub, Mult Div, BitOr BitAnd, And Or, USub UAdd".split(", ")
INSTEAD = {a: b for swap in SWAPS for a, b in (swap.split(), swap.split()[::-1])}
INSTEAD |= {"FloorDiv": "Div", "Mod": "Div", "Pow": "Mult", "MatMult": "Mult"}


def nodes(node: ast.AST) -> Iterator[ast.AST]:
    """A tree without annotations, decorators, docstrings and the text of f-strings."""
    yield node
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            is_text = isinstance(node, ast.Expr | ast.JoinedStr) and isinstance(child, ast.Constant)
            if isinstance(child, ast.AST) and not is_text and name not in ("annotation", "returns", "decorator_list"):
                yield from nodes(child)


def changes(node: ast.AST, name: str, value: object) -> Iterator[object]:
    """What may stand in a field of a node instead."""
    if type(value).__name__ in INSTEAD:
        yield getattr(ast, INSTEAD[type(value).__name__])()
    elif name == "ops":
        yield from ([*value[:i], *changes(node, "", op), *value[i + 1 :]] for i, op in enumerate(value))
    elif name == "test" or (name == "operand" and isinstance(node.op, ast.Not)):
        yield ast.UnaryOp(ast.Not(), value)
    elif isinstance(node, ast.Return) and value is not None:
        yield ast.Constant(None)
    elif isinstance(node, ast.Constant) and isinstance(value, bool | int | float | str) and name == "value":
        yield not value if isinstance(value, bool) else f"XX{value}XX" if isinstance(value, str) else value + 1


def mutants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Where each mutant differs, and its source."""
    for node in nodes(tree):
        for name, value in ast.iter_fields(node):
            for new in changes(node, name, value):
                setattr(node, name, new)
                yield (
                    f"{getattr(node, 'lineno', '')}: {ast.unparse(node)}",
                    ast.unparse(ast.fix_missing_locations(tree)),
                )
                setattr(node, name, value)


def passes(tests: list[str]) -> bool:
    if pid := os.fork():
        return os.waitpid(pid, 0)[1] == 0
    signal.alarm(600)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os._exit(pytest.main(["-xq", "-p", "no:cacheprovider", *tests]))


if __name__ == "__main__":
    options = ArgumentParser()
    options.add_argument("module", type=Path)
    options.add_argument("tests", nargs="+")
    options.add_argument("--sample", type=int, default=60)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    every = list(mutants(ast.parse(given.module.read_text())))
    some = random.Random(given.seed).sample(every, min(given.sample, len(every)))
    with tempfile.TemporaryDirectory() as copy:  # the tree itself stays as it is
        shutil.copytree(".", copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        os.chdir(copy)
        sys.path.insert(0, copy)
        sys.dont_write_bytecode = True
        assert passes(given.tests), "the tests do not pass as things are"
        survived = []
        for what, source in some:
            given.module.write_text(source)
            if passes(given.tests):
                survived.append(what)
                print(f"{given.module}:{what}", flush=True)
    print(f"{len(every)} mutants, {len(some)} tried, {len(some) - len(survived)} killed")
