/* Writes messages with Kafka's own generated classes: what tests/golden/kmsg/ holds, and what test_kmsg_against_kafka.py compares us with.
 *
 *   java -cp 'JARS/*' GoldenMessages.java OUT_DIR SAMPLES core|all
 *
 * "core" writes the APIs of CORE at their first, last and boundary versions (first flexible, last before it); "all" writes
 * every API of ApiKeys at every version. One file per API and direction; the format is in README.md. Values come from a
 * fixed seed through the schemas that the classes carry, so a message sets just what its version can hold.
 */
import java.io.PrintWriter;
import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.*;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.*;
import org.apache.kafka.common.protocol.types.*;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.utils.AppInfoParser;
import org.apache.kafka.common.utils.ImplicitLinkedHashMultiCollection;

public class GoldenMessages {
    static final Set<ApiKeys> CORE = EnumSet.of(ApiKeys.PRODUCE, ApiKeys.FETCH, ApiKeys.METADATA, ApiKeys.API_VERSIONS,
        ApiKeys.CREATE_TOPICS, ApiKeys.LIST_OFFSETS, ApiKeys.INIT_PRODUCER_ID, ApiKeys.DESCRIBE_CONFIGS,
        ApiKeys.DESCRIBE_TOPIC_PARTITIONS, ApiKeys.OFFSET_FOR_LEADER_EPOCH, ApiKeys.JOIN_GROUP);
    static Random random;

    public static void main(String[] args) throws Exception {
        Path folder = Path.of(args[0]);
        int samples = Integer.parseInt(args[1]);
        boolean all = args[2].equals("all");
        for (ApiKeys api : ApiKeys.values()) {
            if (!api.hasValidVersion() || (!all && !CORE.contains(api))) {
                continue;
            }
            for (String kind : List.of("Request", "Response")) {
                Class<?> type = Class.forName("org.apache.kafka.common.message." + api.name.replace(" ", "") + kind + "Data");
                Path file = folder.resolve(type.getSimpleName().replace("Data", "") + ".txt");
                try (PrintWriter out = new PrintWriter(file.toFile(), StandardCharsets.UTF_8)) {
                    out.println("# Written by Apache Kafka " + AppInfoParser.getVersion() + " (GoldenMessages.java; format: README.md)");
                    for (short version : versions(api, type, all)) {
                        for (int sample = 0; sample < samples; sample++) {
                            random = new Random(Objects.hash(api.id, kind, version, sample));
                            print(out, api, kind, type, version);
                        }
                    }
                }
            }
        }
    }

    static SortedSet<Short> versions(ApiKeys api, Class<?> type, boolean all) throws Exception {
        short first = type.getField("LOWEST_SUPPORTED_VERSION").getShort(null);
        short last = type.getField("HIGHEST_SUPPORTED_VERSION").getShort(null);
        SortedSet<Short> versions = new TreeSet<>();
        for (short version = first; version <= last; version++) {
            boolean flexible = api.requestHeaderVersion(version) >= 2;
            boolean boundary = version > first && flexible != (api.requestHeaderVersion((short) (version - 1)) >= 2);
            if (all || version == first || version == last || boundary) {
                versions.add(version);
            }
            if (!all && boundary) {
                versions.add((short) (version - 1));
            }
        }
        return versions;
    }

    static void print(PrintWriter out, ApiKeys api, String kind, Class<?> type, short version) throws Exception {
        Message header = kind.equals("Request")
            ? new RequestHeaderData().setRequestApiKey(api.id).setRequestApiVersion(version).setCorrelationId(4711).setClientId("gold")
            : new ResponseHeaderData().setCorrelationId(4711);
        short headerVersion = kind.equals("Request") ? api.requestHeaderVersion(version) : api.responseHeaderVersion(version);
        Object body = fill(type, version);
        Method toJson = Class.forName(type.getName() + "JsonConverter").getMethod("write", type, short.class, boolean.class);
        out.println(type.getSimpleName().replace("Data", "") + " " + version
            + " " + hex(MessageUtil.toByteBufferAccessor(header, headerVersion).buffer())
            + hex(MessageUtil.toByteBufferAccessor((Message) body, version).buffer())
            + " " + toJson.invoke(null, body, version, false));
    }

    static String hex(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return HexFormat.of().formatHex(bytes);
    }

    static Object fill(Class<?> type, short version) throws Exception {
        Object message = type.getConstructor().newInstance();
        Schema schema = ((Schema[]) type.getField("SCHEMAS").get(null))[version];
        for (BoundField bound : schema.fields()) {
            if (bound.def.type instanceof TaggedFields tagged) {
                for (Field field : new TreeMap<>(tagged.fields()).values()) {
                    if (random.nextInt(3) > 0) {
                        set(message, field, version);
                    }
                }
            } else {
                set(message, bound.def, version);
            }
        }
        return message;
    }

    static void set(Object message, Field field, short version) throws Exception {
        String wanted = "set" + field.name.replace("_", "");
        for (Method method : message.getClass().getMethods()) {
            if (method.getName().equalsIgnoreCase(wanted) && method.getParameterCount() == 1) {
                boolean isNull = field.type.isNullable() && random.nextInt(4) == 0;
                method.invoke(message, isNull ? null : value(method.getGenericParameterTypes()[0], field.type, version));
                return;
            }
        }
        throw new IllegalStateException(message.getClass() + " has no " + wanted);
    }

    static Object value(Type wanted, org.apache.kafka.common.protocol.types.Type wire, short version) throws Exception {
        Type raw = wanted instanceof ParameterizedType generic ? generic.getRawType() : wanted;
        if (raw == boolean.class) return random.nextBoolean();
        if (raw == byte.class || raw == Byte.class) return (byte) random.nextInt();
        if (raw == short.class || raw == Short.class) return (short) random.nextInt();
        if (raw == int.class || raw == Integer.class) return wire.toString().equals("UINT16") ? random.nextInt(65536) : random.nextInt();
        if (raw == long.class || raw == Long.class) return wire.toString().equals("UINT32") ? random.nextLong() >>> 32 : random.nextLong();
        if (raw == double.class) return random.nextInt() / 64.0;
        if (raw == String.class) return text();
        if (raw == Uuid.class) return new Uuid(random.nextLong(), random.nextLong());
        if (raw == byte[].class) return bytes();
        if (raw == ByteBuffer.class) return ByteBuffer.wrap(bytes());
        if (raw == BaseRecords.class) return records();
        if (raw == List.class) return list(((ParameterizedType) wanted).getActualTypeArguments()[0], new ArrayList<>(), version);
        Class<?> type = (Class<?>) raw;
        if (ImplicitLinkedHashMultiCollection.class.isAssignableFrom(type)) {
            Type element = ((ParameterizedType) type.getGenericSuperclass()).getActualTypeArguments()[0];
            return list(element, (Collection<Object>) type.getConstructor().newInstance(), version);
        }
        return fill(type, version);
    }

    static Object list(Type element, Collection<Object> into, short version) throws Exception {
        for (int count = random.nextInt(3); count > 0; count--) {
            into.add(value(element, org.apache.kafka.common.protocol.types.Type.INT32, version));
        }
        return into;
    }

    static String text() {
        StringBuilder text = new StringBuilder();
        for (int count = random.nextInt(20); count > 0; count--) {
            text.append("abcdefghijklmnopqrstuvwxyz0123456789._-\"\u00e9\u20ac".charAt(random.nextInt(42)));
        }
        return text.toString();
    }

    static byte[] bytes() {
        byte[] bytes = new byte[random.nextInt(20)];
        random.nextBytes(bytes);
        return bytes;
    }

    static BaseRecords records() {
        return MemoryRecords.withRecords(Compression.NONE, new SimpleRecord(1700000000000L, "key".getBytes(), text().getBytes()));
    }
}
