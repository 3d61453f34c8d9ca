"""deploy/compose.yaml in a real Docker engine: three controllers and three brokers of one image; a message goes in from the host and comes out in
another container; a broker dies and the rest serve. Needs an engine that DOCKER_HOST (or the default socket) leads to, and docker compose or
docker-compose. Where the engine can't load debian:12-slim from a registry, it is made of the mirror that this machine's apt uses.
"""
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from cluster import ROOT
from topics import try_create
from waiting import stretched, wait_until

pytestmark = pytest.mark.full

BASE = "debian:12-slim"
FILE = ROOT / "deploy/compose.yaml"
SERVICES = [f"{role}-{number}" for role in ("controller", "broker") for number in (1, 2, 3)]
EXTERNAL = {1: "127.0.0.1:19092", 2: "127.0.0.1:29092", 3: "127.0.0.1:39092"}
BOOTSTRAP = ",".join(EXTERNAL.values())
INSIDE = "broker-1:9092,broker-2:9092,broker-3:9092"
TOPIC = "orders"


def run(*command, seconds=60, status=0, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=stretched(seconds), check=False, **options)
    if status is not None:
        assert done.returncode == status, f"{command}: exit status {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


def docker(*words, **options):
    return run("docker", *words, **options).stdout.strip()


def compose_command():
    """["docker", "compose"], or the older program; None without either."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and run(*command, "version", status=None).returncode == 0:
            return command
    return None


def engine_missing():
    if not shutil.which("docker") or run("docker", "info", "--format", "{{.ServerVersion}}", status=None).returncode != 0:
        return "needs a Docker engine: 'docker info' finds none"
    return None if compose_command() else "needs a Docker engine with docker compose or docker-compose"


def make_base():
    """The base image, when neither the engine nor a registry has it: a Debian of debootstrap's."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        if any(run("docker", *words, BASE, status=None, seconds=180).returncode == 0 for words in (["image", "inspect"], ["pull", "-q"])):
            return
    folder = Path(tempfile.mkdtemp(prefix="moldau-base-"))
    try:
        mirror = run(ROOT / "deploy/debian-mirror").stdout.strip()
        run("debootstrap", "--variant=minbase", "bookworm", folder, mirror, seconds=600, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"})
        with subprocess.Popen(["tar", "-C", str(folder), "-c", "."], stdout=subprocess.PIPE) as tar:
            run("docker", "import", "-", BASE, seconds=300, stdin=tar.stdout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Compose:
    """The cluster of deploy/compose.yaml under a project name of its own."""

    def __init__(self):
        self.command = [*compose_command(), "-p", f"moldau-test-{os.getpid()}", "-f", str(FILE)]

    def __call__(self, *words, **options):
        return run(*self.command, *words, **options).stdout

    def container(self, service):
        return self("ps", "-q", service).strip()

    def health(self, service):
        return docker("inspect", "-f", "{{.State.Health.Status}}", self.container(service))

    def wait_healthy(self, services=tuple(SERVICES), seconds=120):
        wait_until(lambda: all(self.health(service) == "healthy" for service in services), seconds, f"{', '.join(services)} to be healthy")

    def moldau(self, *words, stdin=None, bootstrap=INSIDE):
        """The command line in a container of its own: a client like any other in the network."""
        return docker("run", "--rm", "-i", "--network", "moldau", "--entrypoint", "moldau", "moldau", *words, "--bootstrap-server", bootstrap, input=stdin)

    def rows(self, kind, *words):
        found = [json.loads(line) for line in self.moldau(*words, "--output", "json").splitlines()]
        return [row for row in found if row["kind"] == kind]


@pytest.fixture(scope="module")
def compose():
    reason = engine_missing()
    if reason:
        pytest.skip(reason)
    make_base()
    cluster = Compose()
    is_good = False
    try:
        cluster("build", "controller-1", seconds=1800)  # once: all services have the same image
        cluster("up", "-d", "--no-build", seconds=120)
        cluster.wait_healthy()
        yield cluster
        is_good = True
    finally:
        if not is_good or os.environ.get("MOLDAU_KEEP"):
            print(cluster("logs", "--no-color", "--tail", "40", status=None))
        cluster("down", "-v", "--timeout", "30", seconds=300, status=None)


def produce_from_host(values, partitions=6):
    """All acknowledged, or it fails."""
    failed = []
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "acks": "all", "enable.idempotence": True, "message.timeout.ms": int(stretched(30) * 1000)})
    for number, value in enumerate(values):
        producer.produce(TOPIC, value, partition=number % partitions, on_delivery=lambda error, _: failed.append(error) if error else None)
    assert producer.flush(stretched(35)) == 0 and not failed, f"not acknowledged: {failed[:3]}"


def read_on_host(count, partitions=6):
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    try:
        consumer.assign([TopicPartition(TOPIC, index, 0) for index in range(partitions)])
        found = []

        def all_read():
            for message in consumer.consume(500, 0.2):
                assert message.error() is None, message.error()
                found.append(message.value().decode())
            return len(found) >= count
        wait_until(all_read, 30, f"{count} messages on the host")
        return found
    finally:
        consumer.close()


def test_the_containers_are_what_the_file_promises(compose):
    for service in SERVICES:
        container = compose.container(service)
        assert docker("exec", container, "id", "-u") == "10001", "the process is no root"
        assert docker("exec", container, "cat", "/proc/1/comm") == "moldau"
        mounts = json.loads(docker("inspect", "-f", "{{json .Mounts}}", container))
        assert [(mount["Type"], mount["Destination"]) for mount in mounts] == [("volume", "/var/lib/moldau")]
        published = docker("port", container).splitlines()
        assert all("127.0.0.1:" in line for line in published) and len(published) == (1 if service.startswith("broker") else 0), published
    status = compose.rows("cluster", "cluster", "status")[0]
    assert (status["brokers"], status["under_replicated"], status["leaderless"]) == (3, 0, 0)


def test_a_broker_dies_and_the_rest_serve_host_and_containers(compose):
    assert try_create(BOOTSTRAP, TOPIC, partitions=6, replicas=3, min_insync_replicas=2) is None
    sent = [f"from the host {number}" for number in range(600)]
    produce_from_host(sent)
    assert sorted(compose.moldau("consume", TOPIC, "--from", "earliest").splitlines()) == sorted(sent)
    answer = compose.moldau("produce", TOPIC, stdin="".join(f"from a container {number}\n" for number in range(100)))
    sent += [f"from a container {number}" for number in range(100)]
    assert sorted(read_on_host(len(sent))) == sorted(sent), answer

    leader = next(row["leader"] for row in compose.rows("partitions", "topic", "describe", TOPIC) if row["partition"] == 0)
    victim = compose.container(f"broker-{leader}")
    docker("kill", "-s", "KILL", victim)
    after = [f"after the death of {leader}: {number}" for number in range(100)]
    produce_from_host(after)
    sent += after
    assert sorted(compose.moldau("consume", TOPIC, "--from", "earliest").splitlines()) == sorted(sent)
    assert sorted(read_on_host(len(sent))) == sorted(sent)

    docker("start", victim)
    wait_until(lambda: compose.rows("cluster", "cluster", "status")[0]["under_replicated"] == 0, 60, "all replicas to be in sync again")
    compose.wait_healthy()


def test_an_orderly_end_and_another_start_keep_the_messages(compose):
    compose("stop", seconds=200)
    for service in SERVICES:
        container = docker("ps", "-aq", "--filter", f"label=com.docker.compose.service={service}", "--filter", f"label=com.docker.compose.project={compose.command[-3]}")
        assert docker("inspect", "-f", "{{.State.ExitCode}}", container) == "0", f"{service}: " + docker("logs", "--tail", "20", container)
        assert not re.search(r"CHECK failed|level=fatal", docker("logs", container))
    compose("start", seconds=200)
    compose.wait_healthy()
    assert len(read_on_host(800)) == 800
