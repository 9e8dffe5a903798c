"""Does the caption of a held-out recording name its label?

    python tests/benchmarks/held_out.py SOUNDS [--model DIR] [--fold 4] [--examples 10]

SOUNDS holds manifest.csv. Prints the share of clips whose caption names their label (accepted_words.toml), the
share for each label, and the captions of some recordings drawn by a seed, unselected.
"""

import random
import time
from collections import defaultdict

from hearing import Listener, hits, parser, share


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--examples", type=int, default=10)
    given = options.parse_args()
    listener = Listener(given)
    recordings = listener.recordings
    began = time.monotonic()
    captions = listener.caption([r.path for r in recordings])
    print(f"{len(recordings)} clips, {time.monotonic() - began:.0f} s")

    right = hits(recordings, captions)
    by_label = defaultdict(list)
    for recording, hit in zip(recordings, right, strict=True):
        by_label[recording.label].append(hit)
    esc50 = [hit for recording, hit in zip(recordings, right, strict=True) if "esc50" in recording.path.name]
    print(f"ESC-50 clips named: {share(esc50)}")
    print(f"speech named:       {share(by_label['man_speaking'] + by_label['woman_speaking'])}")
    print(f"music named:        {share(by_label['music'])}")
    print(f"all clips named:    {share(right)}")
    for label, some in sorted(by_label.items(), key=lambda item: -sum(item[1]) / len(item[1])):
        print(f"  {label:24} {share(some)}")
    print("unselected examples:")
    for i in sorted(random.Random(0).sample(range(len(recordings)), min(given.examples, len(recordings)))):
        print(f"  {recordings[i].label:18} {captions[i].score:6.2f}  {captions[i].caption}")


if __name__ == "__main__":
    main()
