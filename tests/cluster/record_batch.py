"""Record batches (format 2), built with any mistake that a test wants, and taken apart again."""
import gzip
import struct
import time
import zlib
from dataclasses import dataclass, field

NO_PRODUCER = (-1, -1, -1)
HEADER_BYTES = 61
# Young enough for retention and for remembered producers, old enough to be told from a broker's clock.
HOURS_AGO_MS = (int(time.time()) - 3 * 3600) * 1000
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    table = _TABLE
    for byte in data:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(value):
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value & ~0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def record(offset_delta, key, value, timestamp_delta=0, headers=(), extra=b""):
    def sized(raw):
        return varint(-1) if raw is None else varint(len(raw)) + raw
    body = b"\0" + varint(timestamp_delta) + varint(offset_delta) + sized(key) + sized(value) + varint(len(headers))
    for name, content in headers:
        body += sized(name) + sized(content)
    body += extra
    return varint(len(body)) + body


@dataclass
class Batch:
    """A batch of `values`; every other member defaults to what a correct client would send."""
    values: list = field(default_factory=lambda: [b"value"])
    base_timestamp: int = HOURS_AGO_MS
    timestamp_step: int = 10
    base_offset: int = 0
    producer: tuple = NO_PRODUCER  # id, epoch, base sequence
    codec: str = "none"
    attributes: int = 0  # beside the codec
    leader_epoch: int = -1
    magic: int = 2
    count: int | None = None
    last_offset_delta: int | None = None
    max_timestamp: int | None = None
    length: int | None = None
    crc: int | None = None
    payload: bytes | None = None  # instead of the records made of `values`

    def encode(self):
        count = len(self.values) if self.count is None else self.count
        payload = self.payload
        if payload is None:
            payload = b"".join(record(i, b"key%d" % i, value, i * self.timestamp_step) for i, value in enumerate(self.values))
        if self.codec == "gzip":
            payload = gzip.compress(payload, mtime=0)
        last = len(self.values) - 1 if self.last_offset_delta is None else self.last_offset_delta
        newest = self.base_timestamp + (len(self.values) - 1) * self.timestamp_step if self.max_timestamp is None else self.max_timestamp
        tail = struct.pack(">hiqqqhii", self.attributes | CODECS[self.codec], last, self.base_timestamp, newest, *self.producer, count)
        tail += payload
        crc = crc32c(tail) if self.crc is None else self.crc
        length = len(tail) + 9 if self.length is None else self.length
        return struct.pack(">qiibI", self.base_offset, length, self.leader_epoch, self.magic, crc) + tail


def message_set(magic, value, timestamp=HOURS_AGO_MS):
    """One message of the formats before batches (0 and 1), which brokers no longer take."""
    body = struct.pack(">bb", magic, 0) + (struct.pack(">q", timestamp) if magic else b"")
    body += struct.pack(">i", -1) + struct.pack(">i", len(value)) + value
    message = struct.pack(">I", zlib.crc32(body)) + body
    return struct.pack(">qi", 0, len(message)) + message


def describe(data):
    """The batches in `data` as dicts; a part of one at the end as {"part": bytes}."""
    found, at = [], 0
    while at < len(data or b""):
        if len(data) - at < HEADER_BYTES or len(data) - at < 12 + struct.unpack_from(">i", data, at + 8)[0]:
            found.append({"part": len(data) - at})
            break
        base, length, epoch, magic, crc = struct.unpack_from(">qiibI", data, at)
        attributes, last, first_time, max_time, pid, producer_epoch, sequence, count = struct.unpack_from(">hiqqqhii", data, at + 21)
        whole = data[at:at + 12 + length]
        found.append({"BaseOffset": base, "BatchBytes": 12 + length, "PartitionLeaderEpoch": epoch, "Magic": magic,
                      "CrcIsRight": crc == crc32c(whole[21:]), "Attributes": attributes, "LastOffsetDelta": last,
                      "BaseTimestamp": first_time, "MaxTimestamp": max_time, "ProducerOfBatch": [pid, producer_epoch, sequence],
                      "Count": count, "Payload": whole[HEADER_BYTES:].hex()})
        at += 12 + length
    return found
