"""Put a trained captioner in the place of the model that comes with aac.

    python -m aaccli.recipes.embed runs/default/best --sounds SOUNDS --validation-fold 4

Takes config.json, vocabulary.json and model.safetensors from the run; writes ATTRIBUTIONS.csv, one row for each
recording that was trained on, from the manifest's columns; leaves README.md and LICENSE.md, which people write.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from dataclasses import replace
from pathlib import Path

from ..checkpoints import CONFIG, DEFAULT_MODEL, VOCABULARY, WEIGHTS, load_captioner, write_info
from ..data.sounds import read_sounds, split
from ..files.table import read_table

COLUMNS = ("file", "title", "author", "licence", "source_url")
ATTRIBUTIONS = "ATTRIBUTIONS.csv"
MAX_BYTES = 25_000_000  # a wheel stays small


def embed(run: Path, sounds: Path, validation_fold: int, length_penalty: float | None = None) -> int:
    """Copy the model and write its attributions; gives their number.

    ``length_penalty`` becomes the model's own, where the held-out recordings speak for it.
    """
    _, _, info = load_captioner(run)
    size = sum((run / name).stat().st_size for name in (CONFIG, VOCABULARY, WEIGHTS))
    if size > MAX_BYTES:
        raise SystemExit(f"{run}: {size} bytes, {MAX_BYTES} at most; train with --store float16")
    for name in (CONFIG, VOCABULARY, WEIGHTS):
        shutil.copyfile(run / name, DEFAULT_MODEL / name)
    if length_penalty is not None:
        write_info(DEFAULT_MODEL, replace(info, decoding=replace(info.decoding, length_penalty=length_penalty)))
    # Recordings of no known label too: the teacher spoke of them.
    trained_on, _ = split(read_sounds(sounds), validation_fold)
    return write_attributions(sounds / "manifest.csv", {recording.path for recording in trained_on})


def write_attributions(manifest: Path, used: set[Path]) -> int:
    """Write the manifest's rows of the recordings that were used."""
    rows = [row.values for row in read_table(manifest)[1] if manifest.parent / row.values["file"] in used]
    with (DEFAULT_MODEL / ATTRIBUTIONS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:  # where the manifest names nobody, the source's own credits do
            author = row["author"] or f"credited in {row['source_url']}"
            writer.writerow({**row, "file": Path(row["file"]).name, "author": author})
    return len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--sounds", type=Path, required=True)
    parser.add_argument("--validation-fold", type=int, default=4)
    parser.add_argument("--length-penalty", type=float, help="what held_out.py finds best")
    options = parser.parse_args()
    count = embed(options.run, options.sounds, options.validation_fold, options.length_penalty)
    print(f"{count} attributions")


if __name__ == "__main__":
    main()
