"""How far can a caption's score be trusted?

    python tests/benchmarks/calibration.py SOUNDS [--model DIR] [--fold 4] [--write]

Captions the held-out recordings, fits the curve from a caption's log-probability to the probability that it names the
label, and prints a reliability table: the probabilities in it come from curves fitted to the other four fifths of the
clips.
--write puts the curve that is fitted to all of them into the model's config.json.
"""

import random
from dataclasses import replace

from hearing import Listener, hits, parser, share

from aaccli.calibration import expected_error, fit, reliability
from aaccli.checkpoints import DEFAULT_MODEL, write_info

PARTS = 5


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--write", action="store_true")
    given = options.parse_args()
    listener = Listener(given)
    captions = listener.caption([r.path for r in listener.recordings])
    right, scores = hits(listener.recordings, captions), [c.best.log_probability for c in captions]
    part = [i % PARTS for i in range(len(scores))]
    random.Random(0).shuffle(part)
    probabilities = [0.0] * len(scores)
    for held in range(PARTS):
        rest = [i for i, p in enumerate(part) if p != held]
        curve = fit([scores[i] for i in rest], [right[i] for i in rest])
        for i in (i for i, p in enumerate(part) if p == held):
            probabilities[i] = curve.probability(scores[i])
    table = reliability(probabilities, right)
    print("| probability | captions | expected | right |\n|---|---|---|---|")
    for row in table:
        print(f"| {row.low:.1f} to {row.high:.1f} | {row.count} | {row.expected:.1%} | {row.right:.1%} |")
    print(f"expected calibration error: {expected_error(table):.1%}; all: {share(right)}")
    sure = [hit for hit, p in zip(right, probabilities, strict=True) if p >= 0.5]
    unsure = [hit for hit, p in zip(right, probabilities, strict=True) if p < 0.5]
    print(f"probability of a half or more: {share(sure)} right; less: {share(unsure)} right")
    curve = fit(scores, right)
    print(f"curve over all: slope {curve.slope:.4f}, intercept {curve.intercept:.4f}")
    if given.write:
        write_info(given.model or DEFAULT_MODEL, replace(listener.captioner.info, calibration=curve))


if __name__ == "__main__":
    main()
