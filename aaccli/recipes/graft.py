"""Give a captioner the CNN10 of a tagger that went on learning, so that its words need not be learned anew.

    python -m aaccli.recipes.graft aaccli/default_model runs/ear/tagger --out runs/grafted

What comes out is a start for ``aac train --init``, not a captioner: its transformer knows the former CNN10.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checkpoints import load_captioner, load_tagger, save_captioner
from ..errors import CheckpointError


def graft(captioner: Path, tagger: Path, out: Path) -> None:
    """Write a captioner with another CNN10.

    Raises
    ------
    CheckpointError
        The two hear through different front ends.
    """
    net, vocabulary, info = load_captioner(captioner)
    other, about = load_tagger(tagger)
    if about.front_end != info.model.front_end:
        raise CheckpointError(f"{tagger}: was trained on {about.front_end}, {captioner} on {info.model.front_end}")
    net.cnn10.load_state_dict(other.cnn10.state_dict())
    save_captioner(out, net, vocabulary, info)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captioner", type=Path)
    parser.add_argument("tagger", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    graft(given.captioner, given.tagger, given.out)


if __name__ == "__main__":
    main()
