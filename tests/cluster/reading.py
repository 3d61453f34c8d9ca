"""Reading a whole topic, each partition to its end."""
import time

from confluent_kafka import Consumer, KafkaError, TopicPartition

from waiting import stretched


def read_by_assign(bootstrap, topic, partitions, seconds=60):
    """confluent-kafka with assign(): {partition: [(offset, key, value)]}."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "not-used", "enable.auto.commit": False, "enable.partition.eof": True,
                         "check.crcs": True})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    read, at_end = {partition: [] for partition in range(partitions)}, set()
    deadline = time.monotonic() + stretched(seconds)
    while len(at_end) < partitions:
        assert time.monotonic() < deadline, f"only partitions {at_end} were read to their end"
        for message in consumer.consume(10_000, 0.2):
            if message.error() is None:
                read[message.partition()].append((message.offset(), message.key(), message.value()))
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                at_end.add(message.partition())
    consumer.close()
    return read
