"""A training run from its settings to its last checkpoint: what is asked, told, kept and taken up again."""

from __future__ import annotations

import csv
import io
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import typer

from .. import console, precision
from ..checkpoints import CaptionerInfo, Store, load_captioner, mend, save_captioner
from ..config import from_dict, to_dict
from ..data.clips import Clip, hold_out, read_captions, read_clotho
from ..data.featurecache import FeatureCache
from ..data.phrases import load_phrases
from ..data.soundscapes import SoundscapeConfig
from ..errors import CheckpointError, ConfigError, DataError
from ..files.locks import training_in
from ..files.wholefile import advised
from ..metrics.evaluation import NAMES
from ..metrics.output import write_whole
from ..model.captioner import CaptionerNet
from ..training.batching import loading, workers_for
from ..training.card import render as render_card
from ..training.config import Epoch, Result, Step
from ..training.distributed import Team, team
from ..training.journal import Journal, board_writer
from ..training.runs import Init, Run, read_init, run_on_clips, run_on_sounds
from ..training.runstate import StateFolder
from ..training.settings import Layer, Settings, as_toml, changes, init_name, merge, read_layer
from ..training.survey import MEMO, LeftOut, Survey, tell
from ..training.tagging import TaggingConfig
from ..training.trainer import Trainer
from ..vocabulary import Vocabulary
from .pretraining import sound_banks, train_a_tagger

CONFIG, LEFT_OUT, STATE, TAGGER = "config.toml", "left_out.csv", "state", "tagger"


def former_settings(out: Path, given: Layer) -> Settings | None:
    """The settings of the run in a folder with what may change of them; None where there is no run.

    Raises
    ------
    ConfigError
        Something is given that cannot change any more.
    """
    if not (out / CONFIG).is_file():
        return None
    former = from_dict(Settings, read_layer(out / CONFIG))
    settings = from_dict(Settings, merge(to_dict(former), given))
    other = changes(former, settings)
    if other:
        raise ConfigError(
            f"--resume: {out} was begun with other settings ({'; '.join(other)}); leave them, or give another --out"
        )
    return settings


def check_free(out: Path) -> None:
    """Raises ConfigError where a run would be written over unasked."""
    if StateFolder(out / STATE).files() or (out / "best").exists():
        raise ConfigError(f"{out}: holds a run already; go on with it by --resume, or give another --out")


class Session:
    """One run in one process; several of them make a team."""

    def __init__(self, settings: Settings, out: Path, quiet: bool) -> None:
        self.settings, self.out, self.quiet = settings, out, quiet
        self.states = StateFolder(out / STATE)
        self.command = shlex.join(["aac", *sys.argv[1:]])
        self.team = Team()
        self.journal: Journal | None = None
        self.asked: list[int] = []  # signals that have come

    def run(self, start: Init | None, read: Callable[[str], Init], resume: bool, device: torch.device) -> None:
        """Train, and raise typer.Exit where it was interrupted."""
        with (
            advised("type the same command again, with --resume"),
            team(device) as (self.team, device),
            _silent(self.quiet or not self.team.first),
            training_in(self.out) if self.team.first else nullcontext(),
        ):
            state = self._former_state(resume)
            if self.team.first:
                if not resume:
                    check_free(self.out)  # again: another may have come and gone meanwhile
                if self.settings.tensorboard:
                    board_writer()  # not only after all recordings were checked
                for name in ("best", "last"):
                    mend(self.out / name)
                write_whole(self.out / CONFIG, as_toml(self.settings, self.command))
            start = Init() if state else start or read(self.settings.init)
            with console.StepProgress("training", None, self.quiet) as progress:

                def on_heard(done: int, total: int) -> None:
                    progress.update(done, "", total, "listening")

                run = self._set_up(start, state, device, on_heard)
                result = self._train(run, state, progress)
        if result.interrupted:
            console.say(f"saved; go on with: aac train --out {shlex.quote(str(self.out))} --resume")
            raise typer.Exit(console.TERMINATED if signal.SIGTERM in self.asked else console.INTERRUPTED)

    def _former_state(self, resume: bool) -> dict[str, Any] | None:
        """The state to go on from."""
        if not resume:
            return None
        state, problems = self.states.load()
        for problem in problems:
            console.warn(problem)
        if state is None:
            console.say(f"{self.out}: no checkpoint yet, starting from the beginning")
        return state

    def _set_up(
        self, start: Init, state: dict[str, Any] | None, device: torch.device, on_heard: Callable[[int, int], None]
    ) -> Run:
        s = self.settings
        vocabulary = Vocabulary(tuple(state["words"])) if state else None
        if not s.data.sounds:
            cache = FeatureCache(Path(s.data.cache), console.warn) if s.data.cache else None
            clips = self._clips()
            run = run_on_clips(*clips, s.model, s.training, start, device, on_heard, vocabulary, s.decoding, cache)
        else:
            phrases = Path(s.data.phrases) if s.data.phrases else None
            banks = sound_banks(
                Path(s.data.sounds), phrases, s.data.known_labels, s.data.validation_fold,
                s.model.front_end.sample_rate, self.quiet,
            )  # fmt: skip
            if s.init == "tagger" and state is None:
                tagging = TaggingConfig(epochs=s.tagger_epochs, seed=s.training.seed)
                if self.team.first:
                    train_a_tagger(banks, s.model.front_end, tagging, self.out / TAGGER, device, self.quiet)
                self.team.wait()
                start = read_init(self.out / TAGGER)
            run = run_on_sounds(
                *banks, load_phrases(phrases), s.model, s.training, SoundscapeConfig(), start, device, on_heard,
                vocabulary, s.decoding,
            )  # fmt: skip
        if state and state["about"] != run.about:
            raise DataError(
                f"{self.out}: was trained on other data (then {_told(state['about'])}, now "
                f"{_told(run.about)}); put it back, or start anew with --init {self.out}/best"
            )
        for line in run.start:
            console.say(line)
        return run

    def _clips(self) -> tuple[list[Clip], list[Clip]]:
        """Clips to train on and to validate with, each decoded once to see that it can be."""
        data, training = self.settings.data, self.settings.training
        if data.clotho:
            splits = read_clotho(Path(data.clotho), missing_ok=True)
            found = {"development": splits["development"], "validation": splits.get("validation", [])}
        else:
            found = {"captions": read_captions(Path(data.csv), Path(data.audio), missing_ok=True), "validation": []}
            if data.validation_csv:
                found["validation"] = read_captions(Path(data.validation_csv), Path(data.audio), missing_ok=True)
        clips, validation = self._surveyed(found)
        return (clips, validation) if validation else hold_out(clips, training.validation_share, training.seed)

    def _surveyed(self, found: dict[str, list[Clip]]) -> list[list[Clip]]:
        """The clips that can be heard; the others are told of, and listed in OUT/left_out.csv."""
        clips = [clip for some in found.values() for clip in some]
        kept: list[Clip] = []
        if self.team.first:
            workers = workers_for(self.settings.data.workers, 1)
            survey = Survey(self.out / MEMO, self.settings.model.front_end, self.settings.training.max_seconds, workers)
            with console.StepProgress("checking recordings", len(clips), self.quiet) as progress:
                kept, left_out = survey.measure(clips, progress.update)
            self._tell_left_out(found, left_out)
        seconds = self.team.broadcast({str(clip.path): clip.seconds for clip in kept})
        splits = [
            [replace(clip, seconds=seconds[str(clip.path)]) for clip in some if str(clip.path) in seconds]
            for some in found.values()
        ]
        for (name, some), heard in zip(found.items(), splits, strict=True):
            if some and not heard:
                raise DataError(f"{name}: none of {len(some)} recordings can be trained on, such as {some[0].path}")
        return splits

    def _tell_left_out(self, found: dict[str, list[Clip]], left_out: list[LeftOut]) -> None:
        for name, some in found.items():
            paths = {clip.path for clip in some}
            for line in tell(name, len(some), [x for x in left_out if x.path in paths]):
                console.warn(line)
        if left_out:
            lines = io.StringIO()
            rows = csv.writer(lines)
            rows.writerow(("file", "reason", "detail"))
            rows.writerows((str(x.path), x.reason, x.detail) for x in left_out)
            write_whole(self.out / LEFT_OUT, lines.getvalue())

    def _train(self, run: Run, state: dict[str, Any] | None, progress: console.StepProgress) -> Result:
        c = run.config
        workers = workers_for(self.settings.data.workers, self.team.count)
        with loading(workers) as loader, _interrupts(self.asked):
            trainer = Trainer(run, loader, self.team, should_stop=lambda: bool(self.asked))
            if state:
                trainer.restore(state)
                console.say(f"going on after epoch {trainer.at.epoch}, step {trainer.at.step}")
            if self.team.first:
                self._watch(trainer, progress)
            ranks = f", {self.team.count} ranks" if self.team.count > 1 else ""
            console.say(
                f"{len(run.train.epoch(trainer.at.epoch))} examples, {len(run.vocabulary)} words, batches of "
                f"{c.batch_size} x {c.accumulate}{ranks}, {precision.NAMES[trainer.dtype]} on {run.net.device}"
            )
            result = trainer.train()
            if self.team.first:
                self._end(trainer, result)
        return result

    def _watch(self, trainer: Trainer, progress: console.StepProgress) -> None:
        """Tell and keep what happens."""
        s = self.settings
        title = f"{s.recipe or 'aac train'}: {self.out.name}"
        journal = Journal(self.out, title, trainer.at, s.tensorboard, console.warn)
        began, first = time.monotonic(), None

        def on_step(step: Step) -> None:
            nonlocal first
            journal.step(step)
            done, total = (step.epoch - 1) * step.steps + step.step, s.training.epochs * step.steps
            first = done - 1 if first is None else first
            left = (time.monotonic() - began) / (done - first) * (total - done)
            note = f"epoch {step.epoch}/{s.training.epochs} loss {step.loss:.3f} (words {step.cross_entropy:.3f}, "
            note += f"rlssr {step.rlssr:.3f}) {step.clips_per_second:.1f} clips/s, at most {_duration(left)} left"
            progress.update(done, note, total, "training")

        def on_epoch(epoch: Epoch) -> None:
            self._keep(trainer, "last", trainer.net, epoch, "float32")
            if epoch.best:
                self._keep(trainer, "best", trainer.net, epoch, s.store)
            journal.epoch(epoch)
            console.say(
                f"epoch {epoch.epoch}/{s.training.epochs}: loss {epoch.train_loss:.4f}, validation "
                f"{epoch.validation_loss:.4f} (words {epoch.validation_cross_entropy:.4f}){' best' * epoch.best}, "
                f"{epoch.seconds_per_step:.2f} s/step, {epoch.seconds:.0f} s"
            )
            _say_scores(epoch)

        def save() -> None:
            journal.keep()  # a run that goes on from this state tells only what comes after it
            state = {**trainer.state(), "words": list(trainer.run.vocabulary.words), "about": trainer.run.about}
            try:
                self.states.save(state, trainer.at.epoch, trainer.at.step)
            except CheckpointError as error:
                console.warn(f"{error}; training goes on")

        trainer.on_step, trainer.on_epoch, trainer.save = on_step, on_epoch, save
        self.journal = journal

    def _keep(self, trainer: Trainer, name: str, net: CaptionerNet, epoch: Epoch, store: Store) -> None:
        """Write the network as a model that ``--model`` takes and that can be published."""
        s, run = self.settings, trainer.run
        about = {key: value for key, value in run.about.items() if key != "digest"}
        trained = {
            "recipe": s.recipe,
            "init": init_name(s.init),
            "config": to_dict(s.training),
            "epoch": to_dict(replace(epoch, examples=())),
            **about,
        }
        info = CaptionerInfo(net.config, run.decoding, trained)
        card = render_card(s, about, epoch, self.command)
        save_captioner(self.out / name, net, run.vocabulary, info, store, card)

    def _end(self, trainer: Trainer, result: Result) -> None:
        """Say how it ended; captions and scores of the best network, if its epoch made none."""
        best = result.best
        if best and not result.interrupted:
            if trainer.config.decode_epochs and not best.scores:
                console.say(f"captioning the validation clips with the best network, of epoch {best.epoch}")
                net, _, _ = load_captioner(self.out / "best")
                trainer.net.load_state_dict(net.state_dict())
                best = trainer.scored(best, trainer.captions(Team()))
                self._keep(trainer, "best", trainer.net, best, self.settings.store)
                _say_scores(best)
            why = f"no better for {trainer.config.patience}" if result.stopped_early else f"after {result.epochs}"
            console.say(f"stopped, {why} epochs")
            console.say(f"best: epoch {best.epoch}, validation loss {best.validation_loss:.4f}, {self.out / 'best'}")
        if self.journal:
            self.journal.close()


def _say_scores(epoch: Epoch) -> None:
    if epoch.scores:
        console.say(", ".join(f"{NAMES[name]} {value:.3f}" for name, value in epoch.scores.items()))
    for example in epoch.examples:
        console.say(f"  {example.caption}\n    people: {' / '.join(example.references)}")


def _told(about: dict[str, Any]) -> str:
    return ", ".join(f"{value} {key.replace('_', ' ')}" for key, value in about.items() if isinstance(value, int | str))


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


@contextmanager
def _silent(wanted: bool) -> Iterator[None]:
    """Nothing on stderr while all goes well: --quiet, or another rank speaks."""
    console.stderr.quiet = wanted
    try:
        yield
    finally:
        console.stderr.quiet = False


@contextmanager
def _interrupts(asked: list[int]) -> Iterator[None]:
    """Note signals that have come, Ctrl-C or SIGTERM; a second one stops at once."""

    def ask(number: int, _: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise console.Terminated if number == signal.SIGTERM else KeyboardInterrupt
        console.say("finishing the step, then saving; again: stop at once")

    former = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
