"""Do captions stay the same when CNN10 computes with fewer bits, or with PyTorch's own convolutions?

    python tests/benchmarks/precision.py SOUNDS [--ways bf16 fp16 direct] [--fold 4] [--every 1]

SOUNDS holds manifest.csv. Captions each held-out recording in fp32 and in each of the others, and prints the share of
captions that stay the same, the share that name the label, and every pair that differs. A processor without bfloat16
in hardware computes it too, slowly.
"""

from __future__ import annotations

from contextlib import nullcontext

from hearing import Listener, hits, parser, share
from measuring import pytorchs_convolutions

from aaccli.captioning.captioner import Captioner


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--ways", nargs="+", default=["bf16"], choices=["bf16", "fp16", "direct"])
    options.add_argument("--every", type=int, default=1, help="take each n-th recording")
    given = options.parse_args()
    listener = Listener(given)
    recordings = listener.recordings[:: given.every]
    files = [r.path for r in recordings]
    plain = listener.caption(files)
    print("| way | captions as in fp32 | label named |\n|---|---|---|")
    print(f"| fp32 | | {share(hits(recordings, plain))} |", flush=True)
    differing = []
    for name in given.ways:
        with pytorchs_convolutions() if name == "direct" else nullcontext():
            precision = "fp32" if name == "direct" else name
            listener.captioner = Captioner.from_pretrained(given.model, precision=precision)
            said = listener.caption(files)
        same = [a.caption == b.caption for a, b in zip(plain, said, strict=True)]
        print(f"| {name} | {share(same)} | {share(hits(recordings, said))} |", flush=True)
        differing += [
            f"| {name} | {r.label} | {a.caption} | {b.caption} |"
            for r, a, b, equal in zip(recordings, plain, said, same, strict=True)
            if not equal
        ]
    if differing:
        print("\n| way | label | in fp32 | then |\n|---|---|---|---|", *differing, sep="\n")


if __name__ == "__main__":
    main()
