"""SPICE, by programs that stand in for its own."""

import pytest
from scored import CANDIDATES, REFERENCES, of

from aaccli.errors import MetricError, NotInstalledError
from aaccli.fetching.cache import SUMS
from aaccli.metrics import meteor, spice
from aaccli.metrics.evaluation import evaluate

SPICE_PROGRAM = """
if 'edu.anu.spice.SpiceScorer' not in sys.argv:
    for line in sys.stdin: print(line, end='')
    sys.exit()
assert '-cache' not in sys.argv
print('noise ' * 100000)
clips = json.load(open(sys.argv[sys.argv.index('edu.anu.spice.SpiceScorer') + 1]))
rows = [{'image_id': c['image_id'], 'scores': {'All': {'f': len(c['refs']) * len(c['test'].split()) / 100}}}
        for c in clips]
json.dump(rows[::-1], open(sys.argv[sys.argv.index('-out') + 1], 'w'))
"""


@pytest.fixture
def spice_jars(monkeypatch, tmp_path):
    monkeypatch.setenv("AAC_CACHE", str(tmp_path))
    (tmp_path / "spice").mkdir()
    for name in (*spice.SPICE_JARS, SUMS):
        (tmp_path / "spice" / name).touch()


def test_spice_and_spider_over_a_fake_program(fake_java, spice_jars):
    """By the clip's number, whatever the order; the jars of the models are on its class path."""
    fake_java(SPICE_PROGRAM)
    scores = evaluate(of(), ["spider", "cider_d", "spice"]).systems["system"].scores
    assert scores["spice"].clips == pytest.approx([0.06, 0.10, 0.06, 0.04])
    assert scores["spider"].corpus == pytest.approx((scores["spice"].corpus + scores["cider_d"].corpus) / 2)
    alone = evaluate(of(), ["spider"]).systems["system"].scores
    assert {name: score.corpus for name, score in alone.items()} == {"spider": scores["spider"].corpus}


@pytest.fixture
def asked_of_java(monkeypatch):
    """Names, arguments and seconds that programs are started with; none is."""
    asked = []

    def refuse(name, arguments, seconds, folder=None):
        asked.append((name, [str(argument) for argument in arguments], seconds))
        raise MetricError("no")

    monkeypatch.setattr(spice, "running", refuse)
    monkeypatch.setattr(meteor, "running", refuse)
    return asked


def test_programs_have_time_for_every_caption(asked_of_java, spice_jars):
    with pytest.raises(MetricError, match="no"):
        spice.spice(CANDIDATES, REFERENCES)
    with pytest.raises(MetricError, match="no"), meteor.starting(1000):
        pass
    assert [(name, seconds) for name, _, seconds in asked_of_java] == [("SPICE", 900 + 4 + 8), ("METEOR", 600 + 200)]
    (_, of_spice, _), (_, of_meteor, _) = asked_of_java
    assert of_spice[:2] == ["-Xmx8G", "-cp"] and of_spice[-1] == "-silent"
    assert of_meteor[0] == "-Xmx2G" and of_meteor[-6:] == ["-", "-", "-stdio", "-l", "en", "-norm"]


def test_spice_that_writes_nothing(fake_java, spice_jars):
    fake_java("pass")
    with pytest.raises(MetricError, match="wrote no scores"):
        spice.spice(CANDIDATES, REFERENCES)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ("[{'image_id': 0, 'scores': {'All': {'f': 0.5}}}]", r"SPICE wrote no scores \(KeyError: 1\)"),
        ("[{'image_id': i, 'scores': {'All': {'f': 0.5 - i * float('inf')}}} for i in (1, 0)]", "no numbers"),
        ("3", "SPICE wrote no scores"),
    ],
)
def test_spice_that_writes_what_is_no_score(fake_java, spice_jars, rows, why):
    fake_java(f"json.dump({rows}, open(sys.argv[sys.argv.index('-out') + 1], 'w'))")
    with pytest.raises(MetricError, match=why):
        spice.spice(CANDIDATES[:2], REFERENCES[:2])


def test_spice_without_models(monkeypatch, tmp_path):
    monkeypatch.setenv("AAC_CACHE", str(tmp_path))
    with pytest.raises(NotInstalledError, match="aac download spice"):
        spice.spice(CANDIDATES, REFERENCES)
