"""Which backups stay, what a manifest guards against, and what a killed run leaves."""

import os
import stat
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from deployments.domain.errors import BackupFailed, MigrationRefused
from deployments.store.postgres.migrate import read_migrations
from serve_app.operations.backup import files
from serve_app.operations.backup.files import (
    Manifest,
    manifest_of,
    part,
    read_manifest,
    rotate,
    surplus,
    verify,
)
from serve_app.operations.backup.restore import made_under

TODAY = date(2026, 11, 21)


def name(day: int, hour: int, month: int = 11) -> str:
    return f"memex-2026{month:02}{day:02}T{hour:02}0000Z.dump"


def manifest(**changes: object) -> Manifest:
    values: dict[str, object] = {
        "sha256": "0" * 64,
        "bytes": 0,
        "memories": 3,
        "migrations": ("0001_memories",),
        "embedding": None,
        "memex": "0.1.0",
        "created_at": datetime(2026, 11, 21, tzinfo=UTC),
    }
    return Manifest.model_validate(values | changes)


def write(folder: Path, *names: str) -> None:
    for each in names:
        (folder / each).write_bytes(b"dump")
        manifest_of(folder / each).write_text("{}")


def listed(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_of_days_before_today_the_newest_stays() -> None:
    names = [name(19, 1), name(19, 23), name(20, 2), name(20, 1), name(21, 1), name(21, 2)]
    assert set(surplus(names, TODAY, 7)) == {name(19, 1), name(20, 1)}


def test_the_newest_days_stay_however_old_they_are() -> None:
    names = [name(day, 1, month) for month in (3, 5) for day in (1, 2, 3)]
    assert set(surplus(names, TODAY, 2)) == set(names) - {name(3, 1, 5), name(2, 1, 5)}
    assert surplus(names, TODAY, 6) == []
    assert surplus([], TODAY, 1) == []


def test_only_what_memex_named_is_ever_surplus() -> None:
    others = ["memex.dump", "memex-20261340T000000Z.dump", "other-20200101T000000Z.dump",
              "memex-20200101T000000Z.dump.partial", "xmemex-20200101T000000Z.dump"]  # fmt: skip
    assert surplus([*others, name(21, 1)], TODAY, 1) == []


def test_rotation_deletes_both_files_and_no_others(tmp_path: Path) -> None:
    write(tmp_path, name(18, 1), name(19, 1), name(20, 1), "mine.dump")
    alone = name(17, 1)
    (tmp_path / alone).write_bytes(b"a dump whose manifest somebody took away")
    old = rotate(tmp_path, 2, tmp_path / name(20, 1), TODAY)
    assert old == [tmp_path / name(18, 1)]
    kept = {name(19, 1), name(20, 1), "mine.dump"}
    assert listed(tmp_path) == kept | {f"{each}.json" for each in kept} | {alone}


def test_rotation_never_deletes_the_one_just_written(tmp_path: Path) -> None:
    """Not even where a clock that was ahead has named others later than it."""
    write(tmp_path, name(20, 5), name(20, 9), name(28, 1))
    rotate(tmp_path, 1, tmp_path / name(20, 5), TODAY)
    assert {each for each in listed(tmp_path) if each.endswith(".dump")} == {
        name(20, 5),
        name(28, 1),
    }


def test_a_part_becomes_a_backup_when_it_is_published(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "backups"
    with part(folder) as written:
        os.write(written.file, b"rows")
        assert not written.dump.exists()
        written.publish(manifest())
    assert written.dump.read_bytes() == b"rows"
    assert Manifest.model_validate_json(manifest_of(written.dump).read_bytes()) == manifest()
    assert listed(folder) == {written.dump.name, manifest_of(written.dump).name}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_part_that_is_not_published_leaves_nothing(tmp_path: Path) -> None:
    with part(tmp_path) as written:
        os.write(written.file, b"rows")
        assert listed(tmp_path) == {written.path.name}
    assert listed(tmp_path) == set()


def test_a_manifest_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with part(tmp_path) as written:
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            written.publish(manifest())
    assert listed(tmp_path) == set()


def test_two_at_once_get_two_names(tmp_path: Path) -> None:
    with part(tmp_path) as one, part(tmp_path) as other:
        one.publish(manifest())
        other.publish(manifest())
    assert one.dump != other.dump
    assert len(listed(tmp_path)) == 4


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    left = [f"{name(1, 1)}.partial", f"{name(1, 1)}.json.partial", f"{name(1, 1)}.json"]
    others = ["notes.partial", "memex-x.dump.partial"]
    for each in (*left, *others):
        (tmp_path / each).write_text("")
    with part(tmp_path) as written:
        assert listed(tmp_path) == {*others, written.path.name}


async def test_only_a_whole_and_unchanged_dump_is_taken(tmp_path: Path) -> None:
    dump = tmp_path / name(21, 1)
    dump.write_bytes(b"0123456789")
    digest = await files.sha256(dump, lambda _done: None)
    beside = manifest_of(dump)
    beside.write_text(manifest(sha256=digest, bytes=10).model_dump_json())
    shown: list[int] = []
    await verify(dump, read_manifest(dump), shown.append)
    assert shown == [10]

    dump.write_bytes(b"0123456780")
    with pytest.raises(BackupFailed, match="checksum"):
        await verify(dump, read_manifest(dump), shown.append)
    dump.write_bytes(b"012345678")
    with pytest.raises(BackupFailed, match="has 9 bytes, and was written with 10"):
        read_manifest(dump)
    beside.write_text('{"sha256": "')
    with pytest.raises(BackupFailed, match="not a backup's manifest"):
        read_manifest(dump)
    beside.unlink()
    with pytest.raises(BackupFailed, match=r"\.dump\.json is missing"):
        read_manifest(dump)
    dump.unlink()
    with pytest.raises(BackupFailed, match="cannot be read"):
        read_manifest(dump)
    with pytest.raises(BackupFailed, match="not a file"):
        read_manifest(tmp_path)


def test_a_backup_of_a_newer_memex_is_refused() -> None:
    known = read_migrations()
    assert made_under(manifest(migrations=("0001_memories",)), known) == known[:1]
    with pytest.raises(MigrationRefused, match="9999_later, which this version"):
        made_under(manifest(migrations=("0001_memories", "9999_later")), known)
