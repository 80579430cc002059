"""Backups as files: their names, their manifests, and which of them are kept."""

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
    """Describes a dump, in a file beside it; a later memex may add fields."""

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
    """The day (UTC) in a backup's name; None for any other name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC).date()
    except ValueError:
        return None


def surplus(names: Iterable[str], today: date, keep: int) -> list[str]:
    """The backups to delete: of each day before today all but the newest, and all of days before
    the newest `keep` days that have backups."""
    by_day: dict[date, list[str]] = defaultdict(list)
    for name in sorted(names, reverse=True):
        if (day := day_of(name)) is not None:
            by_day[day].append(name)
    days = sorted(by_day, reverse=True)
    return [
        name
        for position, day in enumerate(days)
        for name in by_day[day][0 if position >= keep else 1 if day < today else len(by_day[day]) :]
    ]


def rotate(folder: Path, keep: int, newest: Path, today: date) -> list[Path]:
    """Delete the folder's surplus backups, never `newest` or a dump without a manifest.

    Returns the paths of the deleted dumps.
    """
    names = [path.name for path in folder.iterdir() if _is_complete(path)]
    deleted = [folder / name for name in surplus(names, today, keep) if name != newest.name]
    for dump in deleted:
        dump.unlink(missing_ok=True)  # first, so that no dump is ever left without its manifest
        manifest_of(dump).unlink(missing_ok=True)
    return deleted


def _is_complete(dump: Path) -> bool:
    return day_of(dump.name) is not None and dump.is_file() and manifest_of(dump).is_file()


async def sha256(file: Path, show: Callable[[int], None]) -> str:
    """The file's SHA-256 in hexadecimal. Calls `show` with the bytes read so far; can be
    cancelled."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
            show(opened.tell())
            await asyncio.sleep(0)
    return digest.hexdigest()


def read_manifest(dump: Path) -> Manifest:
    """The manifest of a dump, which has the size in it. Raises BackupFailed."""
    path = manifest_of(dump)
    try:
        size = dump.stat().st_size
        if not dump.is_file():
            raise BackupFailed(f"{dump} is not a file")
        if not path.is_file():
            raise BackupFailed(f"{path} is missing, and {dump.name} cannot be checked without it")
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError:
        raise BackupFailed(f"{path} is not a backup's manifest") from None
    except OSError as error:
        raise BackupFailed(f"{error.filename or dump} cannot be read ({error.strerror})") from None
    if size != manifest.bytes:
        raise BackupFailed(
            f"{dump} is damaged: it has {size:,} bytes instead of {manifest.bytes:,}"
        )
    return manifest


async def verify(dump: Path, manifest: Manifest, show: Callable[[int], None]) -> None:
    """Raises BackupFailed unless the dump has the manifest's checksum."""
    try:
        digest = await sha256(dump, show)
    except OSError as error:
        raise BackupFailed(f"{dump} cannot be read ({error.strerror})") from None
    if digest != manifest.sha256:
        raise BackupFailed(f"{dump} is damaged: its checksum is not the one in its manifest")


class Part:
    """A backup that is being written, under a temporary name."""

    def __init__(self, dump: Path, file: int) -> None:
        self.dump = dump
        self.file = file

    @property
    def path(self) -> Path:
        return _partial(self.dump)

    def size(self) -> int:
        return os.fstat(self.file).st_size

    def publish(self, manifest: Manifest) -> None:
        """Sync both files to disk, then give them their names; the dump last, so that every dump
        has a manifest."""
        path = manifest_of(self.dump)
        os.fsync(self.file)
        descriptor = os.open(_partial(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(manifest.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        _partial(path).rename(path)
        self.path.rename(self.dump)
        _sync_folder(self.dump.parent)


@contextlib.contextmanager
def new_part(folder: Path) -> Iterator[Part]:
    """A part in the folder, removed after the block unless it was published. Raises OSError."""
    _make_folder(folder)
    _clear_leftovers(folder)
    part = _reserve(folder)
    try:
        yield part
    finally:
        os.close(part.file)
        if not part.dump.exists():
            for path in (manifest_of(part.dump), _partial(manifest_of(part.dump))):
                path.unlink(missing_ok=True)
        part.path.unlink(missing_ok=True)


def _reserve(folder: Path) -> Part:
    """A part under a name that no other backup has or is about to get."""
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
        time.sleep(0.1)  # until the next second, which gives another name


def _clear_leftovers(folder: Path) -> None:
    """Remove the parts of killed runs: those that nobody has locked."""
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


def _make_folder(folder: Path) -> None:
    """Create the folder, accessible only to its owner; one that exists keeps its mode."""
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
