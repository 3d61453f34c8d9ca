"""Replicas of a partition compared by their files, with the nodes stopped: the same bytes up to the high watermark (testing.md 6, oracle 1)."""
import struct
from itertools import zip_longest

HEADER_BYTES = 61


def batches(folder):
    """(base offset, next offset, the batch's bytes) of all segments in order; a torn tail is left out."""
    for path in sorted(folder.glob("*.log")):
        data, at = path.read_bytes(), 0
        while at + HEADER_BYTES <= len(data):
            base, length = struct.unpack_from(">qi", data, at)
            last_delta = struct.unpack_from(">i", data, at + 23)[0]
            if length < HEADER_BYTES - 12 or at + 12 + length > len(data):
                break
            yield base, base + last_delta + 1, data[at:at + 12 + length]
            at += 12 + length


def log_end(folder):
    end = 0
    for _base, end, _bytes in batches(folder):
        pass
    return end


def lines(path):
    """Of a checkpoint file: without version, count and our own last line."""
    return [line for line in path.read_text().splitlines()[2:] if not line.startswith("#")]


def high_watermark(data, topic, partition):
    """As checkpointed by the node; 0 when it never was."""
    path = data / "replication-offset-checkpoint"
    for line in lines(path) if path.exists() else []:
        name, index, offset = line.split()
        if (name, int(index)) == (topic, partition):
            return int(offset)
    return 0


def epochs(folder):
    """[(epoch, start offset)]"""
    path = folder / "leader-epoch-checkpoint"
    return [tuple(map(int, line.split())) for line in lines(path)] if path.exists() else []


def compare(data_by_node, topic, partition, until=None):
    """Demands equal batches and epochs up to `until` (None: the smallest checkpointed high watermark); returns that offset."""
    folders = {node: data / f"{topic}-{partition}" for node, data in data_by_node.items()}
    marks = {node: high_watermark(data, topic, partition) for node, data in data_by_node.items()}
    until = min(marks.values()) if until is None else until
    (first, first_folder), *others = folders.items()
    for node, folder in others:
        for one, two in zip_longest(batches(first_folder), batches(folder)):
            if all(batch is None or batch[0] >= until for batch in (one, two)):
                break
            assert one == two, f"{topic}-{partition} below {until}: node {first} has {told(one)}, node {node} has {told(two)}"
        ours, theirs = ([entry for entry in epochs(one) if entry[1] < until] for one in (first_folder, folder))
        assert ours == theirs, f"{topic}-{partition}: leader epochs below {until} of node {first} are {ours}, of node {node} {theirs}"
    ends = {node: log_end(folder) for node, folder in folders.items()}
    assert min(ends.values()) >= until, f"{topic}-{partition}: logs end at {ends}, the high watermark is {until}"
    return until


def told(batch):
    if batch is None:
        return "nothing"
    base, end, data = batch
    epoch, crc = struct.unpack_from(">i", data, 12)[0], struct.unpack_from(">I", data, 17)[0]
    return f"offsets {base} to {end - 1} of epoch {epoch}, {len(data)} bytes, CRC {crc:08x}"
