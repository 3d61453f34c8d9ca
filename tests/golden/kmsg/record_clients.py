"""Records what real clients and a real broker say to each other: the first frame of each message and version.

    record_clients.py CLIENT LISTEN_PORT BROKER_PORT > client-CLIENT.txt        (CLIENT: librdkafka or kafka-python)

Start Apache Kafka with its advertised listener at LISTEN_PORT, so that the client comes back through here:
`kafka start 1 advertised.listeners=PLAINTEXT://127.0.0.1:LISTEN_PORT`. Needs confluent-kafka or kafka-python from PyPI.
The output's format is that of README.md, without JSON.
"""
import os
import re
import socket
import struct
import sys
import threading
from collections import deque
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TOPIC, GROUP, ROW_COUNT = f"golden-{os.getpid()}", "golden-group", 3


def api_names():
    """{key: name} from the schemas."""
    heads = (re.search(r"^api (\d+) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
             for path in (ROOT / "proto/schema").glob("*.kmsg"))
    return {int(head[1]): head[2] for head in heads}


class Recorder:
    def __init__(self):
        self.names = api_names()
        self.first = {}
        self.lock = threading.Lock()

    def note(self, kind, key, version, frame):
        with self.lock:
            if key in self.names:
                self.first.setdefault((key, kind, version), f"{self.names[key]}{kind} {version} {frame.hex()}")

    def lines(self):
        return [self.first[place] for place in sorted(self.first)]


def read_frame(stream):
    head = stream.read(4)
    return None if len(head) < 4 else (head, stream.read(struct.unpack(">i", head)[0]))


def pass_on(source, sink, note):
    """Copies frames until either side closes."""
    stream = source.makefile("rb")
    try:
        while (frame := read_frame(stream)) is not None:
            note(frame[1])
            sink.sendall(frame[0] + frame[1])
    except OSError:
        pass
    for side in (source, sink):
        try:
            side.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def proxy_connection(client, broker_port, recorder):
    broker = socket.create_connection(("127.0.0.1", broker_port))
    asked = deque()  # responses come in the order of requests

    def note_request(frame):
        key, version = struct.unpack(">hh", frame[:4])
        asked.append((key, version))
        recorder.note("Request", key, version, frame)

    def note_response(frame):
        recorder.note("Response", *asked.popleft(), frame)

    threading.Thread(target=pass_on, args=(client, broker, note_request), daemon=True).start()
    threading.Thread(target=pass_on, args=(broker, client, note_response), daemon=True).start()


def serve(listen_port, broker_port, recorder):
    listener = socket.create_server(("127.0.0.1", listen_port))

    def accept():
        while True:
            proxy_connection(listener.accept()[0], broker_port, recorder)

    threading.Thread(target=accept, daemon=True).start()


def run_librdkafka(bootstrap):
    import confluent_kafka
    from confluent_kafka import admin
    control = admin.AdminClient({"bootstrap.servers": bootstrap})
    control.create_topics([admin.NewTopic(TOPIC, 2, 1, config={"retention.ms": "86400000"})])[TOPIC].result()
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": "lz4"})
    for row in range(ROW_COUNT):
        producer.produce(TOPIC, key=b"k%d" % row, value=b"v", partition=0, headers={"h": b"x"})
    producer.flush()
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP, "auto.offset.reset": "earliest"})
    consumer.subscribe([TOPIC])
    seen = 0
    while seen < ROW_COUNT:
        message = consumer.poll(10)
        seen += message is not None and message.error() is None
    consumer.offsets_for_times([confluent_kafka.TopicPartition(TOPIC, 0, 1)])
    consumer.commit(asynchronous=False)
    consumer.committed([confluent_kafka.TopicPartition(TOPIC, 0)])
    consumer.close()
    again = admin.AdminClient({"bootstrap.servers": bootstrap})
    again.delete_topics([TOPIC])[TOPIC].result(10)
    print(f"# librdkafka {confluent_kafka.libversion()[0]} and Apache Kafka 4.3.0 (record_clients.py; format: README.md)")


def run_kafka_python(bootstrap):
    import kafka
    from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
    control = kafka.KafkaAdminClient(bootstrap_servers=bootstrap)
    control.create_topics([NewTopic(TOPIC, 2, 1)])
    control.describe_configs([ConfigResource(ConfigResourceType.TOPIC, TOPIC)])
    producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, acks="all", compression_type="gzip")
    for row in range(ROW_COUNT):
        producer.send(TOPIC, key=b"k%d" % row, value=b"v", partition=0, headers=[("h", b"x")])
    producer.flush()
    consumer = kafka.KafkaConsumer(TOPIC, bootstrap_servers=bootstrap, group_id=GROUP, auto_offset_reset="earliest",
                                   consumer_timeout_ms=10000)
    for _ in range(ROW_COUNT):
        next(consumer)
    consumer.offsets_for_times({kafka.TopicPartition(TOPIC, 0): 1})
    consumer.commit()
    consumer.committed(kafka.TopicPartition(TOPIC, 0))
    consumer.close()
    control.delete_topics([TOPIC])
    print(f"# kafka-python {kafka.__version__} and Apache Kafka 4.3.0 (record_clients.py; format: README.md)")


def main(client, listen_port, broker_port):
    recorder = Recorder()
    serve(listen_port, broker_port, recorder)
    {"librdkafka": run_librdkafka, "kafka-python": run_kafka_python}[client](f"127.0.0.1:{listen_port}")
    print("\n".join(recorder.lines()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
