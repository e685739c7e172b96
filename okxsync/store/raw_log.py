"""The raw log: every frame as received, each compressed for itself so that any one can be read alone.

Small frames of one kind share nearly all their bytes, so they are compressed against a dictionary. It is made of the
first ``SAMPLES`` frames of a database; from then on order frames of 1.25 KB take 5 % of their size, before it half.
Dictionaries are stored in ``codecs``, and the header of each body names the one that it needs. Text that may be a
secret, echoed by the exchange, is redacted before it gets here.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import zstandard

from okxsync.store.database import Connection

DICTIONARY_BYTES: Final = 24 * 1024
LEVEL: Final = 3
SAMPLES: Final = 1000
"""Frames to learn from: some 1 MB and 30 ms; three times as many compress no better."""
_FIRST_ID: Final = 0x6F6B78
_LEARNED_ID: Final = 2
"""Row 1, in databases of earlier versions, is a dictionary made of invented frames; their first bodies need it."""


class Codec:
    """Compresses with the newest dictionary of a database, and decompresses with the one that a body names."""

    def __init__(self, dictionaries: Iterable[tuple[int, bytes]]) -> None:
        self._readers: dict[int, zstandard.ZstdDecompressor] = {0: zstandard.ZstdDecompressor()}
        newest = None
        for _, body in sorted(dictionaries):
            newest = zstandard.ZstdCompressionDict(body)
            self._readers[newest.dict_id()] = zstandard.ZstdDecompressor(dict_data=newest)
        if newest:
            newest.precompute_compress(level=LEVEL)
        # The size is a column, and a checksum costs four bytes of some eighty.
        self.compress = zstandard.ZstdCompressor(level=LEVEL, dict_data=newest, write_checksum=False).compress

    def decompress(self, body: bytes) -> bytes:
        """Return the frame.

        Raises:
            zstandard.ZstdError: the body is damaged.
            KeyError: its dictionary is not in ``codecs``.
        """
        return self._readers[zstandard.get_frame_parameters(body).dict_id].decompress(body)


def open_codec(db: Connection) -> Codec:
    """Return the codec of a database."""
    return Codec(db.execute("SELECT id, body FROM codecs").fetchall())


def learns(db: Connection) -> bool:
    """Whether no dictionary was made of received frames yet."""
    return db.execute("SELECT 1 FROM codecs WHERE id >= ?", [_LEARNED_ID]).fetchone() is None


def learn(db: Connection, frames: Sequence[bytes]) -> Codec:
    """Return a codec with a dictionary made of received frames, and store that for readers; 12 ms, once per database.

    A search for the best segments takes four times as long and compresses no better: frames are mostly the same.
    """
    segments = {"k": 2000, "d": 8}
    body = zstandard.train_dictionary(
        DICTIONARY_BYTES, list(frames), level=LEVEL, dict_id=_FIRST_ID + _LEARNED_ID, **segments
    ).as_bytes()
    db.execute("INSERT INTO codecs (id, name, body) VALUES (?, 'zstd-dictionary', ?)", (_LEARNED_ID, body))
    return open_codec(db)
