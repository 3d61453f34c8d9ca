"""Writes one batch per codec with librdkafka through a Kafka 4.3 broker and takes it from the segment file.
usage: gold_rdk.py bootstrap data_dir"""
import sys, glob, time
from confluent_kafka import Producer, libversion
TS = 1700000000000
boot, data = sys.argv[1:]
for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
    topic = f"gold-{codec}"
    p = Producer({"bootstrap.servers": boot, "compression.codec": codec, "linger.ms": 500, "enable.idempotence": True})
    p.produce(topic, key=b"k0", value=b"v0", timestamp=TS, headers=[("h1", b"x"), ("h2", None)])
    p.produce(topic, key=None, value=b"a" * 300, timestamp=TS + 5)
    p.produce(topic, key=b"k2", value=None, timestamp=TS - 7)
    assert p.flush(20) == 0
    time.sleep(0.2)
    b = open(glob.glob(f"{data}/**/{topic}-0/*.log", recursive=True)[0], "rb").read()
    n = 12 + int.from_bytes(b[8:12], "big")
    print(codec, len(b), n, b[61:80])
    h = b[:n].hex()
    open(f"rdkafka-{codec}.hex", "w").write("\n".join(h[i:i + 64] for i in range(0, len(h), 64)) + "\n")
print(libversion())
