"""One batch per codec, as the PyPI package kafka-python makes it."""
from kafka.record.default_records import DefaultRecordBatchBuilder
TS = 1700000000000
for codec, name in enumerate(["none", "gzip", "snappy", "lz4", "zstd"]):
    b = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 4096)
    b.append(0, TS, b"k0", b"v0", [("h1", b"x"), ("h2", None)])
    b.append(1, TS + 5, None, b"a" * 300, [])
    b.append(2, TS - 7, b"k2", None, [])
    h = bytes(b.build()).hex()
    open(f"kafka-python-{name}.hex", "w").write("\n".join(h[i:i + 64] for i in range(0, len(h), 64)) + "\n")
