"""What puts load on both: kcat, and our command line for the topics."""
import subprocess

from cluster import program
from figures import CACHED, SYNCED

GIB, MIB = 1 << 30, 1 << 20
RECORD_BYTES, PARTITIONS, MANY_PARTITIONS = 1024, 6, 2000
# What the producer makes of the records: librdkafka's own way, and the batch size that Java clients have by default.
LOADS = {"batches as librdkafka makes them (up to 1 MB)": [], "batches of 16 KiB": ["-X", "batch.size=16384"]}


def kcat(bootstrap, *arguments):
    done = subprocess.run(["kcat", "-q", "-b", bootstrap, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"kcat {arguments}: {done.stderr.decode()}")


def topic(bootstrap, *arguments):
    """Our command line manages both brokers."""
    subprocess.run([program(), "topic", *map(str, arguments), "--bootstrap-server", bootstrap], check=True, stdout=subprocess.DEVNULL, timeout=300)


def columns(broker):
    """What is measured of a broker, with the configuration of its topics."""
    if broker.name.startswith("Moldau"):
        return [(SYNCED, ["--config", "durability=synced"]), (CACHED, ["--config", "durability=cached"])]
    return [(broker.name, [])]


def write_records(path, mib):
    """A file of lines, each a record of RECORD_BYTES."""
    line = (b"0123456789abcdef" * (RECORD_BYTES // 16)) + b"\n"
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(line * (MIB // RECORD_BYTES))


def gib_of(path):
    return path.stat().st_size / (RECORD_BYTES + 1) * RECORD_BYTES / GIB
