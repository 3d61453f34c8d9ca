"""What this machine can do at best: the figures beside which a broker's have to be read."""
import os
import socket
import statistics
import threading
import time
import zlib
from pathlib import Path

MIB = 1 << 20
UNSYNCED_FILE_SYSTEMS = ("tmpfs", "ramfs", "overlay")  # a sync is free on the first two; on the third nobody knows what it is


def file_system(folder):
    """The type of the file system that holds `folder`."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if Path(mount) in (folder, *folder.parents) and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def loopback_echo_us(rounds=3000):
    """p50 of one byte there and back over TCP on loopback, by two Python threads: most of it is waking up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def echo():
        connection, _ = listener.accept()
        with connection:
            while byte := connection.recv(1):
                connection.sendall(byte)
    thread = threading.Thread(target=echo)
    thread.start()
    times = []
    with socket.create_connection(listener.getsockname()) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(rounds):
            started = time.perf_counter()
            client.sendall(b"x")
            client.recv(1)
            times.append(time.perf_counter() - started)
    thread.join()
    listener.close()
    return statistics.median(times) * 1e6


class FullPageCache:
    """The page cache full of something that may be dropped, as on any server that has run for a while: a write then takes over a page. With much free memory
    it gets a fresh one, which a virtual machine has to ask its host for at the first touch: that costs several times the copying, now for one broker, now for the other.
    A file without data is read: no disk is needed."""

    def __init__(self, folder):
        self.path = folder / "page-cache-filler"

    def __enter__(self):
        with open("/proc/meminfo", encoding="ascii") as file:
            total = int(file.readline().split()[1]) * 1024
        with open(self.path, "wb") as file:
            file.truncate(total)
        block = bytearray(4 * MIB)
        with open(self.path, "rb", buffering=0) as file:
            while file.readinto(block):
                pass
        return self

    def __exit__(self, *_):
        self.path.unlink()


def page_cache_write_mib_s(folder, mib=256):
    """Appending blocks of 1 MiB, not synced."""
    block, path = os.urandom(MIB), folder / "page-cache"
    with open(path, "wb", buffering=0) as file:
        started = time.perf_counter()
        for _ in range(mib):
            file.write(block)
        seconds = time.perf_counter() - started
    path.unlink()
    return mib / seconds


def crc_mib_s(mib=512):
    """zlib's CRC-32, on one core."""
    block = os.urandom(MIB)
    started = time.perf_counter()
    for _ in range(mib):
        zlib.crc32(block)
    return mib / (time.perf_counter() - started)


def fdatasync_ms(folder, rounds=300):
    """p50 and p99 of appending 1 KiB and fdatasync."""
    path, block, times = folder / "fdatasync", os.urandom(1024), []
    with open(path, "wb", buffering=0) as file:
        for _ in range(rounds):
            started = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1e3)
    path.unlink()
    return statistics.median(times), percentile(times, 0.99)


def describe(folder):
    """Rows of (what, value) about the machine; the load is that of before."""
    load = os.getloadavg()
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    p50, p99 = fdatasync_ms(folder)
    return [
        ("processors", f"{os.cpu_count()} x {model}"),
        ("kernel, file system", f"{os.uname().release}, {file_system(folder)}"),
        ("load average before the run (1, 5, 15 min)", " ".join(f"{value:.1f}" for value in load)),
        ("loopback echo of a byte, p50", f"{loopback_echo_us():.0f} us"),
        ("page-cache write, one core", f"{page_cache_write_mib_s(folder):,.0f} MiB/s"),
        ("CRC-32 (zlib), one core", f"{crc_mib_s():,.0f} MiB/s"),
        ("1 KiB append + fdatasync, p50 / p99", f"{p50:.2f} / {p99:.2f} ms"),
    ]
