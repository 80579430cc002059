"""Listing cursors: a page key as an opaque token."""

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

from deployments.domain.errors import InvalidInput
from deployments.domain.memories import PageKey

_FORMAT = struct.Struct(">Bq16s")
_VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def encode_cursor(key: PageKey) -> str:
    """A URL-safe token of the microseconds since 1970 and the id."""
    micros = (key.created_at - _EPOCH) // _MICROSECOND
    packed = _FORMAT.pack(_VERSION, micros, key.id.bytes)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_cursor(cursor: str) -> PageKey:
    """The key. Raises InvalidInput for a token that `encode_cursor` did not make."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        version, micros, id_bytes = _FORMAT.unpack(raw)
        if version != _VERSION:
            raise ValueError
        key = PageKey(_EPOCH + micros * _MICROSECOND, UUID(bytes=id_bytes))
    except (ValueError, OverflowError, struct.error, binascii.Error):
        raise InvalidInput(
            "cursor", "is not a cursor of this API; omit it for the first page"
        ) from None
    return key
