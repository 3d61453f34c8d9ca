"""Apache Kafka 4.3 as the target: the checker has to be sound where the product is somebody else's. Three nodes on the loopback of the run's namespace."""
import os
import shutil
import subprocess

import reference
import replicated
from cluster import answers_metadata, free_port
from waiting import wait_until
from world import LAG_SECONDS

HEAP = "256m"
# Its sessions are 9 s long; a follower may lag as long as ours. Nothing but the brokers' death is tried here.
PROPERTIES = f"""process.roles=broker,controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
replica.lag.time.max.ms={LAG_SECONDS * 1000}
auto.create.topics.enable=false
"""
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"


class Member(replicated.Member):
    def __init__(self, folder, node_id):
        ports = (free_port(), free_port(), free_port())
        super().__init__(folder, node_id, ("broker", "controller"), ports, {}, None)
        self.wrap, self.alarms_expected = [], True

    def configure(self, voters):
        self.properties = self.folder / "server.properties"
        self.properties.write_text(PROPERTIES + f"node.id={self.id}\ncontroller.quorum.voters={voters}\nlog.dirs={self.data}\n"
                                   f"listeners=PLAINTEXT://{self.bootstrap},CONTROLLER://{self.internal}\nadvertised.listeners=PLAINTEXT://{self.bootstrap}\n")
        done = subprocess.run(self.java("128m", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", self.properties), capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    @staticmethod
    def java(heap, *words):
        return ["java", f"-Xms{heap}", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", f"-Dlog4j2.configurationFile={reference.CACHE / 'log4j2.yaml'}", "-cp",
                f"{reference.lib_folder()}/*", *map(str, words)]

    def command(self):
        return ["setpriv", "--pdeathsig", "KILL", *self.java(HEAP, "kafka.Kafka", self.properties)]

    def http_status(self, _page):
        return 200 if answers_metadata(self.bootstrap) else None

    def stop(self):
        self.process.terminate()
        status = self.process.wait(60)
        self.process = None
        assert status in (0, 143), f"exit status {status}"


class Cluster(replicated.Cluster):
    def __init__(self, folder, _network):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.nodes = {node_id: Member(folder / str(node_id), node_id) for node_id in (1, 2, 3)}
        voters = ",".join(f"{node.id}@{node.internal}" for node in self.nodes.values())
        for node in self.nodes.values():
            shutil.rmtree(node.data, ignore_errors=True)
            node.configure(voters)

    def start(self, seconds=90):
        for node in self.nodes.values():
            node.start(wait=False)
        self.wait_serving(seconds)
        return self

    def stop_all(self):
        """All at once: one alone would wait for a quorum that has gone."""
        for node in self.nodes.values():
            node.process.terminate()
        for node in self.nodes.values():
            wait_until(lambda: node.process.poll() is not None, 60, f"node {node.id} to end")  # noqa: B023
            node.process = None
