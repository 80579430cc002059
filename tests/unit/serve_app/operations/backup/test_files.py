"""Backup files: rotation, manifests, and the leftovers of killed runs."""

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
    new_part,
    read_manifest,
    rotate,
    surplus,
    verify,
)
from serve_app.operations.backup.restore import migrations_of

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


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_newest_backup_of_each_earlier_day_is_kept() -> None:
    names = [name(19, 1), name(19, 23), name(20, 2), name(20, 1), name(21, 1), name(21, 2)]
    assert set(surplus(names, TODAY, 7)) == {name(19, 1), name(20, 1)}


def test_newest_days_are_kept_however_old() -> None:
    names = [name(day, 1, month) for month in (3, 5) for day in (1, 2, 3)]
    assert set(surplus(names, TODAY, 2)) == set(names) - {name(3, 1, 5), name(2, 1, 5)}
    assert surplus(names, TODAY, 6) == []
    assert surplus([], TODAY, 1) == []


def test_only_files_named_by_memex_are_surplus() -> None:
    foreign = ["memex.dump", "memex-20261340T000000Z.dump", "other-20200101T000000Z.dump",
               "memex-20200101T000000Z.dump.partial", "xmemex-20200101T000000Z.dump"]  # fmt: skip
    assert surplus([*foreign, name(21, 1)], TODAY, 1) == []


def test_rotation_deletes_only_old_dumps_with_their_manifests(tmp_path: Path) -> None:
    write(tmp_path, name(18, 1), name(19, 1), name(20, 1), "mine.dump")
    without_manifest = name(17, 1)
    (tmp_path / without_manifest).write_bytes(b"a dump whose manifest was removed")
    deleted = rotate(tmp_path, 2, tmp_path / name(20, 1), TODAY)
    assert deleted == [tmp_path / name(18, 1)]
    kept = {name(19, 1), name(20, 1), "mine.dump"}
    assert names_in(tmp_path) == kept | {f"{each}.json" for each in kept} | {without_manifest}


def test_rotation_keeps_the_backup_just_written(tmp_path: Path) -> None:
    """Also if a clock that was ahead gave other backups later names."""
    write(tmp_path, name(20, 5), name(20, 9), name(28, 1))
    rotate(tmp_path, 1, tmp_path / name(20, 5), TODAY)
    assert {each for each in names_in(tmp_path) if each.endswith(".dump")} == {
        name(20, 5),
        name(28, 1),
    }


def test_part_becomes_a_backup_when_published(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "backups"
    with new_part(folder) as backup:
        os.write(backup.file, b"rows")
        assert not backup.dump.exists()
        backup.publish(manifest())
    assert backup.dump.read_bytes() == b"rows"
    assert Manifest.model_validate_json(manifest_of(backup.dump).read_bytes()) == manifest()
    assert names_in(folder) == {backup.dump.name, manifest_of(backup.dump).name}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_unpublished_part_leaves_nothing(tmp_path: Path) -> None:
    with new_part(tmp_path) as backup:
        os.write(backup.file, b"rows")
        assert names_in(tmp_path) == {backup.path.name}
    assert names_in(tmp_path) == set()


def test_unwritable_manifest_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with new_part(tmp_path) as backup:
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            backup.publish(manifest())
    assert names_in(tmp_path) == set()


def test_concurrent_backups_get_different_names(tmp_path: Path) -> None:
    with new_part(tmp_path) as one, new_part(tmp_path) as other:
        one.publish(manifest())
        other.publish(manifest())
    assert one.dump != other.dump
    assert len(names_in(tmp_path)) == 4


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    leftovers = [f"{name(1, 1)}.partial", f"{name(1, 1)}.json.partial", f"{name(1, 1)}.json"]
    foreign = ["notes.partial", "memex-x.dump.partial"]
    for each in (*leftovers, *foreign):
        (tmp_path / each).write_text("")
    with new_part(tmp_path) as backup:
        assert names_in(tmp_path) == {*foreign, backup.path.name}


async def test_incomplete_or_changed_dump_is_refused(tmp_path: Path) -> None:
    dump = tmp_path / name(21, 1)
    dump.write_bytes(b"0123456789")
    digest = await files.sha256(dump, lambda _done: None)
    manifest_path = manifest_of(dump)
    manifest_path.write_text(manifest(sha256=digest, bytes=10).model_dump_json())
    progress: list[int] = []
    await verify(dump, read_manifest(dump), progress.append)
    assert progress == [10]

    dump.write_bytes(b"0123456780")
    with pytest.raises(BackupFailed, match="checksum"):
        await verify(dump, read_manifest(dump), progress.append)
    dump.write_bytes(b"012345678")
    with pytest.raises(BackupFailed, match="has 9 bytes instead of 10"):
        read_manifest(dump)
    manifest_path.write_text('{"sha256": "')
    with pytest.raises(BackupFailed, match="not a backup's manifest"):
        read_manifest(dump)
    manifest_path.unlink()
    with pytest.raises(BackupFailed, match=r"\.dump\.json is missing"):
        read_manifest(dump)
    dump.unlink()
    with pytest.raises(BackupFailed, match="cannot be read"):
        read_manifest(dump)
    with pytest.raises(BackupFailed, match="not a file"):
        read_manifest(tmp_path)


def test_backup_of_a_newer_memex_is_refused() -> None:
    known = read_migrations()
    assert migrations_of(manifest(migrations=("0001_memories",)), known) == known[:1]
    with pytest.raises(MigrationRefused, match="9999_later, which this version"):
        migrations_of(manifest(migrations=("0001_memories", "9999_later")), known)
