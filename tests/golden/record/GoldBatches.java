// One batch per codec, two control batches and two old message sets, as Kafka 4.3.0 makes them: java -cp "LIB/*" GoldBatches.java
import java.nio.*; import java.nio.file.*; import java.util.*;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header; import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;
public class GoldBatches {
  static final long TS = 1700000000000L;
  static void dump(String name, ByteBuffer b) throws Exception {
    b = b.duplicate(); StringBuilder s = new StringBuilder(); int n = 0;
    while (b.hasRemaining()) { s.append(String.format("%02x", b.get())); if (++n % 32 == 0) s.append('\n'); }
    Files.writeString(Path.of(name + ".hex"), s.toString().stripTrailing() + "\n");
  }
  static void three(MemoryRecordsBuilder m) {
    m.append(TS, "k0".getBytes(), "v0".getBytes(), new Header[]{new RecordHeader("h1", "x".getBytes()), new RecordHeader("h2", (byte[]) null)});
    m.append(TS + 5, (byte[]) null, "a".repeat(300).getBytes());
    m.append(TS - 7, "k2".getBytes(), (byte[]) null);
  }
  public static void main(String[] a) throws Exception {
    Compression[] cs = {Compression.NONE, Compression.gzip().build(), Compression.snappy().build(), Compression.lz4().build(), Compression.zstd().build()};
    for (Compression c : cs) {
      MemoryRecordsBuilder m = MemoryRecords.builder(ByteBuffer.allocate(4096), c, TimestampType.CREATE_TIME, 0L);
      three(m); dump("java-" + c.type().name, m.build().buffer());
    }
    MemoryRecordsBuilder m = MemoryRecords.builder(ByteBuffer.allocate(4096), Compression.NONE, 0L, 4711L, (short) 3, Integer.MAX_VALUE - 1, true);
    three(m); dump("java-transactional", m.build().buffer());
    dump("java-commit", MemoryRecords.withEndTransactionMarker(77L, TS, 5, 4711L, (short) 3, new EndTransactionMarker(ControlRecordType.COMMIT, 9)).buffer());
    dump("java-abort", MemoryRecords.withEndTransactionMarker(78L, TS, 5, 4711L, (short) 3, new EndTransactionMarker(ControlRecordType.ABORT, 9)).buffer());
    MemoryRecordsBuilder m1 = MemoryRecords.builder(ByteBuffer.allocate(4096), (byte) 1, Compression.NONE, TimestampType.CREATE_TIME, 0L);
    m1.append(TS, "k0".getBytes(), "v0".getBytes()); dump("java-magic1", m1.build().buffer());
    MemoryRecordsBuilder m0 = MemoryRecords.builder(ByteBuffer.allocate(4096), (byte) 0, Compression.NONE, TimestampType.CREATE_TIME, 0L);
    m0.append(-1L, "k0".getBytes(), "v0".getBytes()); dump("java-magic0", m0.build().buffer());
  }
}
