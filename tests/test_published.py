"""The scores of the paper."""

from aaccli.metrics.published import PAPER, PAPER_COLUMNS


def test_numbers_of_the_paper_add_up():
    """SPIDEr is the mean of CIDEr and SPICE, but for roundings and three rows of the paper itself."""
    rows = {name: dict(zip(PAPER_COLUMNS, values, strict=True)) for name, values in PAPER.items()}
    off = {
        name for name, r in rows.items() if r["spider"] and abs(r["spider"] - (r["cider_d"] + r["spice"]) / 2) > 1e-3
    }
    assert off == {"Base + PANN", "Base - encoder", "Base + PANN + L2"}
