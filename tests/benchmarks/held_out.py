"""Does the caption of a held-out recording name its label?

    python tests/benchmarks/held_out.py SOUNDS [--model DIR] [--fold 4] [--examples 10]

SOUNDS holds manifest.csv. Prints the share of clips whose caption names their label (accepted_words.toml), the
share for each label, and the captions of some recordings drawn by a seed, unselected.
"""

import argparse
import random
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch
from naming import names

from aaccli.captioning import Captioner
from aaccli.phrases import load_phrases
from aaccli.sounds import read_sounds, relabel, split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--fold", type=int, default=4)
    parser.add_argument("--examples", type=int, default=10)
    parser.add_argument("--beam-size", type=int, default=4)
    parser.add_argument("--length-penalty", type=float)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    captioner = Captioner.from_pretrained(options.model)
    known = set(captioner.info.trained["labels"])
    _, held_out = split(relabel(read_sounds(options.sounds), load_phrases()), options.fold)
    held_out = [r for r in held_out if r.label in known]
    began = time.monotonic()
    decoding = replace(captioner.info.decoding, beam_size=options.beam_size)
    if options.length_penalty is not None:
        decoding = replace(decoding, length_penalty=options.length_penalty)
    captions = list(captioner.caption([r.path for r in held_out], decoding))
    seconds = time.monotonic() - began

    right = defaultdict(list)
    for recording, caption in zip(held_out, captions, strict=True):
        right[recording.label].append(names(caption.caption, recording.label))
    esc50 = [names(c.caption, r.label) for r, c in zip(held_out, captions, strict=True) if "esc50" in r.path.name]
    print(f"{len(held_out)} clips, {seconds:.0f} s")
    print(f"ESC-50 clips named: {sum(esc50)}/{len(esc50)} = {sum(esc50) / max(1, len(esc50)):.1%}")
    everything = [hit for hits in right.values() for hit in hits]
    print(f"all clips named:    {sum(everything)}/{len(everything)} = {sum(everything) / len(everything):.1%}")
    for label, hits in sorted(right.items(), key=lambda item: -sum(item[1]) / len(item[1])):
        print(f"  {label:20} {sum(hits):3}/{len(hits):<3} {sum(hits) / len(hits):6.1%}")
    print("unselected examples:")
    for i in sorted(random.Random(0).sample(range(len(held_out)), min(options.examples, len(held_out)))):
        print(f"  {held_out[i].label:18} {captions[i].score:6.2f}  {captions[i].caption}")


if __name__ == "__main__":
    main()
