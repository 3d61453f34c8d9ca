"""Topics made by tests of whole clusters."""
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from waiting import stretched


def try_create(bootstrap, name, partitions=1, replicas=3, seconds=30, **config):
    """None when it worked, else the error of Kafka's protocol or of the client's deadline."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})  # kept: its end would cancel the request
    settings = {key.replace("_", "."): str(value) for key, value in config.items()}
    futures = admin.create_topics([NewTopic(name, partitions, replicas, config=settings)], request_timeout=stretched(seconds))
    try:
        futures[name].result(stretched(seconds + 5))
        return None
    except (KafkaException, TimeoutError) as error:
        return error


def create(cluster, name, partitions=1, replicas=3, **config):
    """Made, and known to every broker that runs. min.insync.replicas is 2 unless given."""
    error = try_create(cluster.bootstrap, name, partitions, replicas, **{"min_insync_replicas": min(2, replicas), **config})
    assert error is None, error
    cluster.wait_topic(name)
