"""Every API at every version: what Kafka's own classes write, our codec reads, understands alike, and writes again byte for byte.

    test_kmsg_against_kafka.py TEST_GOLDEN_KMSG_EXECUTABLE

Lets tests/golden/kmsg/GoldenMessages.java write messages with the jars of Apache Kafka in $MOLDAU_KAFKA_JARS (by default where the
reference keeps them) and gives them to the golden test. Skipped where there are no jars or no Java.
"""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = os.environ.get("KAFKA_REF") or os.path.join(os.environ.get("TMPDIR", "/tmp"), "kafka-ref")
JARS = Path(os.environ.get("MOLDAU_KAFKA_JARS") or os.path.join(REFERENCE, "lib"))
SAMPLES = "3"
MESSAGES_MIN = 1000


def main(golden_test):
    if not any(JARS.glob("kafka-clients-*.jar")) or not shutil.which("java"):
        print(f"SKIP: needs Apache Kafka: no jars in {JARS} (MOLDAU_KAFKA_JARS), or no Java")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        source = ROOT / "tests/golden/kmsg/GoldenMessages.java"
        subprocess.run(["java", "-cp", f"{JARS}/*", source, folder, SAMPLES, "all"], check=True, timeout=120)
        written = sum(1 for path in Path(folder).glob("*.txt") for line in path.open(encoding="utf-8") if line[0] != "#")
        print(f"{written} messages written by Kafka's classes")
        assert written >= MESSAGES_MIN, "too few messages: has GoldenMessages.java found the classes?"
        return subprocess.run([golden_test], env={**os.environ, "MOLDAU_GOLDEN_KMSG": folder}, timeout=120, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
