"""What one node can show: processor time per GiB produced and consumed, start to first metadata answer, memory at start and with 2,000
partitions, processor time when idle."""
import threading
import time

from brokers import Kafka, Moldau
from clients import LOADS, MANY_PARTITIONS, MIB, PARTITIONS, columns, gib_of, kcat, topic, write_records


def produce_and_consume(broker, column, config, records_path, name, figures):
    """One turn: all records in, all records out; `figures` None for a warm-up."""
    gib = gib_of(records_path)
    for number, (load, settings) in enumerate(LOADS.items()):
        this = f"{name}-{number}"
        topic(broker.bootstrap, "create", this, "--partitions", PARTITIONS, *config)
        turns = {
            f"CPU s per GiB produced, acks=all, {load}": ["-P", "-t", this, "-l", records_path, "-X", "acks=all", "-X", "linger.ms=5", *settings],
            f"CPU s per GiB consumed, {load}": ["-C", "-t", this, "-o", "beginning", "-e"],
        }
        for row, arguments in turns.items():
            cpu, clock = broker.cpu_seconds(), time.monotonic()
            kcat(broker.bootstrap, *arguments)
            cpu, clock = broker.cpu_seconds() - cpu, time.monotonic() - clock
            if figures is not None:
                figures.add(row, column, cpu / gib)
                figures.add(row.replace("CPU s per GiB", "MiB/s", 1) + " (the client's clock)", column, gib * 1024 / clock)


def data_rounds(brokers, folder, options, figures):
    records_path = folder / "records"
    write_records(records_path, options.mib)
    for broker in brokers:
        broker.start()
    for number in range(options.rounds + 1):
        print(f"round {number} of {options.rounds}" if number else "warm-up", flush=True)
        for broker in brokers:
            for column, config in columns(broker):
                name = f"bench-{column.split()[-1]}-{number}"
                produce_and_consume(broker, column, config, records_path, name, figures if number else None)
    for broker in brokers:
        broker.stop()
    records_path.unlink()


def start_rounds(brokers, options, figures):
    """Starts after an orderly stop, with little data; memory right after the first answer."""
    for _ in range(options.starts):
        for broker in brokers:
            figures.add("start to first metadata answer, s", broker.name, broker.start())
            figures.add("memory at start, MiB", broker.name, broker.memory_bytes() / MIB)
            broker.stop()


def many_partitions(brokers, options, figures):
    """One node with 2,000 partitions: memory, and processor time when nobody asks for anything."""
    for broker in brokers:
        broker.start()
        topic(broker.bootstrap, "create", "many", "--partitions", MANY_PARTITIONS)
        broker.stop()
        figures.add("start to first metadata answer with 2,000 partitions, s", broker.name, broker.start())
    pause = threading.Event()
    pause.wait(options.settle_s)  # what a start leaves to do in the background shall be over
    for broker in brokers:
        figures.add("memory with 2,000 partitions, MiB", broker.name, broker.memory_bytes() / MIB)
    before, clock = [broker.cpu_seconds() for broker in brokers], time.monotonic()
    pause.wait(options.idle_s)
    seconds = time.monotonic() - clock
    for broker, cpu in zip(brokers, before):
        figures.add("CPU when idle with 2,000 partitions, % of a core", broker.name, (broker.cpu_seconds() - cpu) / seconds * 100)
    for broker in brokers:
        broker.stop()


def measure(folder, options, figures, with_kafka):
    """Returns how it was measured."""
    brokers = []
    options.rounds, options.mib, options.starts = (3, 128, 3) if options.quick else (5, 512, 7)
    options.idle_s, options.settle_s = (10, 5) if options.quick else (30, 15)
    try:
        brokers += [kind(folder / kind.__name__.lower()) for kind in ([Kafka, Moldau] if with_kafka else [Moldau])]
        start_rounds(brokers, options, figures)
        data_rounds(brokers, folder, options, figures)
        many_partitions(brokers, options, figures)
    finally:
        for broker in brokers:
            broker.close()
    return f"{options.rounds} rounds of {options.mib} MiB per column and load, {options.starts} starts, {options.idle_s} s idle"
