"""Backups as files: their names, what is written beside them, which of them stay."""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments.domain.errors import BackupFailed

_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"memex-(\d{8}T\d{6}Z)\.dump")
_PARTIAL = ".partial"
_CHUNK = 1 << 20


class EmbeddingModel(BaseModel):
    model_config = ConfigDict(frozen=True)

    model: str
    revision: str
    precision: str
    dimensions: int


class Manifest(BaseModel):
    """What is said beside a dump; a later memex may say more."""

    model_config = ConfigDict(frozen=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int
    memories: int
    migrations: tuple[str, ...]
    embedding: EmbeddingModel | None
    memex: str
    created_at: datetime


def manifest_of(dump: Path) -> Path:
    return dump.with_name(f"{dump.name}.json")


def day_of(name: str) -> date | None:
    """The day (UTC) of a backup of ours; None of any other name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC).date()
    except ValueError:
        return None


def surplus(names: Iterable[str], today: date, keep: int) -> list[str]:
    """Those of these backups that need not stay: of days before today all but the newest of each,
    and all of days before the newest `keep` ones."""
    of_day: dict[date, list[str]] = defaultdict(list)
    for name in sorted(names, reverse=True):
        if (day := day_of(name)) is not None:
            of_day[day].append(name)
    days = sorted(of_day, reverse=True)
    return [
        name
        for position, day in enumerate(days)
        for name in of_day[day][0 if position >= keep else 1 if day < today else len(of_day[day]) :]
    ]


def rotate(folder: Path, keep: int, written: Path, today: date) -> list[Path]:
    """Delete what is surplus of the folder's whole backups, never `written`; what was deleted."""
    names = [path.name for path in folder.iterdir() if _is_whole(path)]
    old = [folder / name for name in surplus(names, today, keep) if name != written.name]
    for dump in old:
        dump.unlink(missing_ok=True)  # first, so that no dump is ever left without its manifest
        manifest_of(dump).unlink(missing_ok=True)
    return old


def _is_whole(dump: Path) -> bool:
    return day_of(dump.name) is not None and dump.is_file() and manifest_of(dump).is_file()


async def sha256(file: Path, show: Callable[[int], None]) -> str:
    """Told in how many bytes it has read; can be cancelled."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
            show(opened.tell())
            await asyncio.sleep(0)
    return digest.hexdigest()


def read_manifest(dump: Path) -> Manifest:
    """Of a dump that has the size it was written with. Raises BackupFailed."""
    beside = manifest_of(dump)
    try:
        size = dump.stat().st_size
        if not dump.is_file():
            raise BackupFailed(f"{dump} is not a file")
        if not beside.is_file():
            raise BackupFailed(f"{beside} is missing, which says what {dump.name} must hold")
        manifest = Manifest.model_validate_json(beside.read_bytes())
    except ValidationError:
        raise BackupFailed(f"{beside} is not a backup's manifest") from None
    except OSError as error:
        raise BackupFailed(f"{error.filename or dump} cannot be read ({error.strerror})") from None
    if size != manifest.bytes:
        raise BackupFailed(
            f"{dump} is damaged: it has {size:,} bytes, and was written with {manifest.bytes:,}"
        )
    return manifest


async def verify(dump: Path, manifest: Manifest, show: Callable[[int], None]) -> None:
    """Raises BackupFailed unless the dump's bytes are those that were written."""
    try:
        found = await sha256(dump, show)
    except OSError as error:
        raise BackupFailed(f"{dump} cannot be read ({error.strerror})") from None
    if found != manifest.sha256:
        raise BackupFailed(f"{dump} is damaged: its checksum is not the one it was written with")


class Part:
    """A backup that is being written, under a name that is not yet a backup's."""

    def __init__(self, dump: Path, file: int) -> None:
        self.dump = dump
        self.file = file

    @property
    def path(self) -> Path:
        return _partial(self.dump)

    def size(self) -> int:
        return os.fstat(self.file).st_size

    def publish(self, manifest: Manifest) -> None:
        """Give both files their names, once they are on disk; the dump last, for it stands for
        both."""
        beside = manifest_of(self.dump)
        os.fsync(self.file)
        descriptor = os.open(_partial(beside), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(manifest.model_dump_json(indent=2) + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        _partial(beside).rename(beside)
        self.path.rename(self.dump)
        _sync_folder(self.dump.parent)


@contextlib.contextmanager
def part(folder: Path) -> Iterator[Part]:
    """A new one in the folder, gone after the block unless it was published. Raises OSError."""
    _make(folder)
    _clear_leftovers(folder)
    written = _reserve(folder)
    try:
        yield written
    finally:
        os.close(written.file)
        if not written.dump.exists():
            for path in (manifest_of(written.dump), _partial(manifest_of(written.dump))):
                path.unlink(missing_ok=True)
        written.path.unlink(missing_ok=True)


def _reserve(folder: Path) -> Part:
    """A name that no other backup has or is about to get."""
    while True:
        dump = folder / f"memex-{datetime.now(UTC).strftime(_STAMP)}.dump"
        with contextlib.suppress(FileExistsError):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            file = os.open(_partial(dump), flags, 0o600)
            if not dump.exists():
                with contextlib.suppress(OSError):  # some network file systems have no locks
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return Part(dump, file)
            os.close(file)
            _partial(dump).unlink()
        time.sleep(0.1)  # the next second brings another name


def _clear_leftovers(folder: Path) -> None:
    """Remove what killed runs left: parts that nobody holds locked."""
    for path in folder.glob(f"memex-*.dump{_PARTIAL}"):
        dump = path.with_name(path.name.removesuffix(_PARTIAL))
        if day_of(dump.name) is None:
            continue
        with contextlib.suppress(OSError), path.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not dump.exists():
                manifest_of(dump).unlink(missing_ok=True)
            _partial(manifest_of(dump)).unlink(missing_ok=True)
            path.unlink()


def _make(folder: Path) -> None:
    """For its owner's eyes alone; one that exists keeps its rights."""
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + _PARTIAL)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
