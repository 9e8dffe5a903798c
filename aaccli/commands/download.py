"""``aac download``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import console
from .options import Quiet
from .progress import fetch_progress, size

if TYPE_CHECKING:
    from ..data.clotho import ClothoPlan
    from ..fetching.cache import Holding
    from ..watching import Watch

CLOTHO_PANEL = "Clotho"


def download(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="cnn10, clotho, spice, or OWNER/NAME[@REVISION] of a model on the Hub."),
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Show what the cache holds, checked, and stop.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would come, with sizes, and stop.")] = False,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Remove this from the cache, and stop.", show_default=False)
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Take a file that you brought (of clotho: a folder of them) instead of the network."
        ),
    ] = None,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Folder of the cache; else AAC_CACHE.", show_default=False)
    ] = None,
    version: Annotated[str, typer.Option(help="v2.1 or v1 (the paper's).", rich_help_panel=CLOTHO_PANEL)] = "v2.1",
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="development, validation (not in v1), evaluation; else all.",
            rich_help_panel=CLOTHO_PANEL,
            show_default=False,
        ),
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder for the data set.", rich_help_panel=CLOTHO_PANEL)] = Path("data"),
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the archives once they are unpacked.", rich_help_panel=CLOTHO_PANEL)
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Fetch weights and data once, checked; all else then works offline.

    ```
    aac download                            # what the paper starts from: CNN10 of PANNs
    aac download clotho --to ./data
    aac download someone/a-captioner
    aac download cnn10 --from Cnn10_mAP=0.380.pth
    aac download --list
    ```

    An interrupted download goes on where it stopped. Models of the Hub are kept in HF_HOME, as for all its tools.
    """
    with console.errors_to_exit_codes():
        from ..errors import ConfigError
        from ..fetching.cache import cache_folder

        if sum((show, dry_run, bool(remove))) > 1 or ((show or remove) and names):
            raise ConfigError("--list, --dry-run and --remove go alone; only --dry-run takes names")
        wanted = list(dict.fromkeys(names or ["cnn10"]))
        if source and len(wanted) != 1:
            raise ConfigError("--from goes with one name: aac download cnn10 --from FILE")
        if "clotho" not in wanted and (keep or split or version != "v2.1" or to != Path("data")):
            raise ConfigError("--version, --split, --to and --keep are for clotho: aac download clotho --to DIR")
        cache = cache_folder(cache_dir)
        if show:
            _list(cache)
        elif remove:
            for name in remove:
                console.say(f"{name}: {size(_remove(name, cache))} freed")
        else:
            tasks = [_task(name, cache, source, version, tuple(split or ()), to, keep, cache_dir) for name in wanted]
            for task in tasks:
                if dry_run:
                    task.show()
                else:
                    with fetch_progress(quiet) as watch:
                        place = task.run(watch)
                    if not quiet:
                        console.say(f"{task.name}: {place}")


class _Task:
    """Something to fetch."""

    def __init__(self, name: str, cache: Path, source: Path | None) -> None:
        self.name, self.cache, self.source = name, cache, source

    def show(self) -> None:
        """Print what would come."""
        from ..fetching.assets import CACHED
        from ..fetching.cache import spice_jars
        from ..fetching.download import is_whole

        item = CACHED[self.name].item
        (asset,) = item.files
        folder = CACHED[self.name].folder(self.cache)
        there = spice_jars(self.cache) if self.name == "spice" else is_whole(asset, folder / asset.file)
        about = "" if asset.exact else "about "
        print(f"{self.name}\t{'nothing, it is there' if there else about + size(asset.size)}\t{asset.url}\t{folder}")
        console.say(f"{self.name}: {item.about}. Licence: {item.licence}")

    def run(self, watch: Watch) -> str:
        """Fetch it; returns where it is."""
        from ..fetching import cache

        return str((cache.spice if self.name == "spice" else cache.cnn10)(self.cache, self.source, watch))


class _HubTask(_Task):
    """A model of the Hub."""

    def show(self) -> None:
        from ..fetching import hub

        name = hub.hub_name(self.name)
        assert name
        there = hub.in_cache(name)
        for file in hub.files_of(name):
            print(f"{self.name}\t{size(file.size)}\t{file.name}\t{there or 'not in the cache'}")

    def run(self, watch: Watch) -> str:
        from ..fetching import hub
        from ..fetching.download import is_offline

        name = hub.hub_name(self.name)
        assert name
        # Asked for by name, the Hub's present state is wanted; without a network, what is there will do.
        there = hub.in_cache(name) if is_offline() else None
        return str(there or hub.fetch(name, watch))


class _ClothoTask(_Task):
    """Clotho, into a folder of the user's."""

    def __init__(self, plan: ClothoPlan) -> None:
        super().__init__("clotho", plan.folder, plan.source)
        self.plan = plan

    def show(self) -> None:
        from ..data.clotho import missing

        to_come = missing(self.plan)
        for asset in self.plan.item.files:
            about = "" if asset.exact else "about "
            what = about + size(asset.size) if asset in to_come else "nothing, it is there"
            print(f"clotho\t{what}\t{asset.url}\t{self.plan.folder}")
        total, unpacked = sum(a.size for a in to_come), sum(s.unpacked for s in self.plan.splits)
        console.say(f"{self.plan.item.about}. About {size(total)} to come, about {size(unpacked)} unpacked.")
        console.say(f"Licence: {self.plan.item.licence}")

    def run(self, watch: Watch) -> str:
        from ..data.clotho import bring

        counts = bring(self.plan, watch)
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        return f"{self.plan.folder} ({said}); next: aac train --clotho {self.plan.folder}"


def _task(
    name: str,
    cache: Path,
    source: Path | None,
    version: str,
    splits: tuple[str, ...],
    to: Path,
    keep: bool,
    cache_dir: Path | None,
) -> _Task:
    """What a name stands for; raises ConfigError where it stands for nothing."""
    from ..data.clotho import ClothoPlan
    from ..errors import ConfigError
    from ..fetching.assets import CACHED, clotho

    if name in CACHED:
        return _Task(name, cache, source)
    if name == "clotho":
        return _ClothoTask(ClothoPlan(*clotho(version, splits), to, source, keep))
    from ..fetching.hub import hub_name

    if not hub_name(name):
        raise ConfigError(f"{name}: neither cnn10, clotho or spice, nor OWNER/NAME of a model on the Hub")
    if source or cache_dir:
        raise ConfigError(
            f"{name}: models of the Hub are kept where HF_HOME says; --from and --cache-dir are for the others"
        )
    return _HubTask(name, cache, source)


def _list(cache: Path) -> None:
    """Print what the caches hold: tab-separated, or a table on a terminal."""
    import sys

    from rich.console import Console
    from rich.table import Table

    from ..fetching.cache import Holding, holdings
    from ..fetching.hub import constants, kept

    rows: list[Holding] = holdings(cache)
    rows += [
        Holding(
            k.name,
            k.size,
            f"{constants.ENDPOINT}/{k.name.split('@')[0]}",
            "ok (sha256)" if k.whole else "DAMAGED",
            k.folder,
        )
        for k in kept()
    ]
    if sys.stdout.isatty():
        table = Table("name", "size", "checksums", "origin", "place", box=None, pad_edge=False)
        for row in rows:
            table.add_row(
                row.name, size(row.size), row.state, row.origin, str(row.place), style="red" * (row.state == "DAMAGED")
            )
        Console(highlight=False).print(table)
    else:
        for row in rows:
            print(row.name, row.size, row.state, row.origin, row.place, sep="\t")
    console.say(
        f"cache: {cache}; models of the Hub: {constants.HF_HUB_CACHE}" + ("" if rows else "; both hold nothing")
    )


def _remove(name: str, cache: Path) -> int:
    from ..errors import ConfigError
    from ..fetching.assets import CACHED
    from ..fetching.cache import remove
    from ..fetching.hub import hub_name
    from ..fetching.hub import remove as remove_from_hub

    if name in CACHED:
        return remove(cache, name)
    if name == "clotho":
        raise ConfigError("clotho is not in the cache but where --to put it; remove that folder")
    hub = hub_name(name)
    if not hub:
        raise ConfigError(f"{name}: neither cnn10 or spice, nor OWNER/NAME of a model on the Hub")
    return remove_from_hub(hub)
