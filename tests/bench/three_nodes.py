"""What three nodes show, each replica on every one of them: processor time and throughput of replicated writes, latency, time without service
after a leader's death, memory and idle processor time with 2,000 partitions."""
import threading
import time

import latency
from clients import LOADS, MANY_PARTITIONS, MIB, PARTITIONS, columns, gib_of, kcat, topic, write_records
from clusters import NODES, KafkaNodes, MoldauNodes
from load import Load, numbered_rows

REPLICATED = ("--partitions", PARTITIONS, "--replication-factor", 3)
# A client that waits a minute for the answer of a leader that stands still would measure itself.
IMPATIENT = {"socket.timeout.ms": 1000, "topic.metadata.refresh.interval.ms": 250}
RATE_OF_FAILOVER = 500


def produce(cluster, column, config, records_path, name, figures):
    """All records in, on three replicas each; `figures` None for a warm-up."""
    gib = gib_of(records_path)
    for number, (load, settings) in enumerate(LOADS.items()):
        this = f"{name}-{number}"
        topic(cluster.bootstrap, "create", this, *REPLICATED, "--config", "min.insync.replicas=2", *config)
        cluster.wait_full(this)
        cpu, clock = cluster.cpu_seconds(), time.monotonic()
        kcat(cluster.bootstrap, "-P", "-t", this, "-l", records_path, "-X", "acks=all", "-X", "linger.ms=5", *settings)
        clock = time.monotonic() - clock
        cluster.wait_full(this)
        cpu = cluster.cpu_seconds() - cpu
        if figures is not None:
            figures.add(f"CPU s per GiB produced, all nodes, {load}", column, cpu / gib)
            figures.add(f"MiB/s produced (the client's clock), {load}", column, gib * 1024 / clock)


def data_rounds(clusters, folder, options, figures):
    records_path = folder / "records"
    write_records(records_path, options.mib)
    for number in range(options.rounds + 1):
        print(f"round {number} of {options.rounds}" if number else "warm-up", flush=True)
        for cluster in clusters:
            for column, config in columns(cluster):
                produce(cluster, column, config, records_path, f"bench-{column.split()[-1]}-{number}", figures if number else None)
    records_path.unlink()


def latencies(cluster, options, figures):
    for column, config in columns(cluster):
        name = f"latency-{column.split()[-1]}"
        topic(cluster.bootstrap, "create", name, *REPLICATED, "--config", "min.insync.replicas=2", *config)
        cluster.wait_full(name)
        # The rate that Kafka can't keep up with comes last: what it leaves behind would delay the other.
        for rate, what, settings in ((1000, "1,000 records/s, linger 0", {}), (5000, "5,000 records/s, each alone", latency.UNBATCHED)):
            for number in range(options.latency_rounds + 1):
                p50, p99, share = latency.measure(cluster.bootstrap, name, PARTITIONS, rate, options.latency_s, settings)
                if number and p50 is not None:
                    figures.add(f"latency at {what}: p50, ms", column, p50)
                    figures.add(f"latency at {what}: p99, ms", column, p99)
                if share < 1:
                    print(f"  {column}: only {share:.0%} of {what} came out within {latency.DRAIN_SECONDS} s of the last", flush=True)


def wait_fit(cluster, name, load):
    """All replicas in sync and acknowledgements on every partition: the next fault meets a cluster that is well."""
    cluster.wait_full(name)
    load.wait_ack_on(range(PARTITIONS), time.monotonic(), 120)


def pick(cluster, name, wants_controller):
    """A node that leads, the active controller or another one; None when there is none such."""
    active = cluster.active_controller()
    leaders = {one.leader for one in cluster.view([name]).topics[name].values()}
    fitting = [node for node in NODES if node in leaders and (node == active) == wants_controller]
    return fitting[0] if fitting else None


def led_by(cluster, name, node):
    return [index for index, one in cluster.view([name]).topics[name].items() if one.leader == node]


def without_service(load, moment, led):
    load.wait_ack_on(led, moment, 120)
    return load.gap_after(moment, led)[0]


def failovers(cluster, options, figures):
    """By a client that sends 500 records a second: from the fault to the first acknowledgement on the slowest partition of that leader."""
    name = "failover"
    topic(cluster.bootstrap, "create", name, *REPLICATED, "--config", "min.insync.replicas=2")
    cluster.wait_full(name)
    with Load(cluster.bootstrap, name, numbered_rows(), RATE_OF_FAILOVER, IMPATIENT) as load:
        for _ in range(options.failovers):
            for wants_controller, row in ((False, "no service after kill -9 of a leader, s"),
                                          (True, "no service after kill -9 of a leader that is the active controller, s")):
                wait_fit(cluster, name, load)
                victim = pick(cluster, name, wants_controller)
                if victim is not None:
                    led = led_by(cluster, name, victim)
                    figures.add(row, cluster.name, without_service(load, cluster.kill(victim), led))
                    cluster.launch(victim)
            wait_fit(cluster, name, load)
            victim = pick(cluster, name, False)
            if victim is not None:
                led, moment = led_by(cluster, name, victim), time.monotonic()
                cluster.pause(victim)
                figures.add("no service after SIGSTOP of a leader, s", cluster.name, without_service(load, moment, led))
                cluster.resume(victim)
        wait_fit(cluster, name, load)
        load.stop(120)


def many_partitions(cluster, options, figures):
    topic(cluster.bootstrap, "create", "many", "--partitions", MANY_PARTITIONS, "--replication-factor", 3)
    cluster.wait_full("many", 300)
    pause = threading.Event()
    pause.wait(options.settle_s)  # what the creation leaves to do in the background shall be over
    figures.add("memory with 2,000 partitions x 3, MiB a node", cluster.name, cluster.memory_bytes() / MIB)
    cpu, clock = cluster.cpu_seconds(), time.monotonic()
    pause.wait(options.idle_s)
    figures.add("CPU when idle with 2,000 partitions x 3, % of a core a node", cluster.name,
                (cluster.cpu_seconds() - cpu) / (time.monotonic() - clock) * 100 / len(NODES))


def measure(folder, options, figures, with_kafka):
    """Data rounds alternate; the rest is measured with one cluster running. Returns how it was measured."""
    clusters = []
    options.rounds, options.mib, options.latency_rounds, options.latency_s = (5, 64, 1, 5) if options.quick else (5, 256, 3, 15)
    options.failovers, options.idle_s, options.settle_s = (1, 10, 5) if options.quick else (3, 30, 15)
    try:
        clusters += [kind(folder / kind.__name__.lower()) for kind in ([KafkaNodes, MoldauNodes] if with_kafka else [MoldauNodes])]
        for cluster in clusters:
            cluster.start()
            figures.add("memory at start, MiB a node", cluster.name, cluster.memory_bytes() / MIB)
        data_rounds(clusters, folder, options, figures)
        for cluster in clusters:
            cluster.stop()
        for cluster in clusters:
            cluster.start()
            latencies(cluster, options, figures)
            failovers(cluster, options, figures)
            many_partitions(cluster, options, figures)
            cluster.stop()
    finally:
        for cluster in clusters:
            cluster.close()
    return (f"{options.rounds} rounds of {options.mib} MiB per column and load, latency {options.latency_rounds} times {options.latency_s} s after one that "
            f"does not count, {options.failovers} of each fault, {options.idle_s} s idle")
