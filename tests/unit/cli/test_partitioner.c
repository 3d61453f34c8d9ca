/* Keys go where the Java client sends them: values of org.apache.kafka.common.utils.Utils.murmur2, Kafka 4.3.0, taken with jshell. */
#include "cli/partitioner.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct golden {
    const char *key;
    uint32_t hash;
    int32_t partition_of_seven;
};

static const struct golden golden[] = {
    {"", 0x106e08d9u, 2},
    {"a", 0xa2d0b27cu, 5},
    {"ab", 0x12d8262au, 0},
    {"abc", 0x1c94221bu, 4},
    {"abcd", 0xb11ab5f4u, 5},
    {"abcde", 0x1b897eddu, 4},
    {"user-1", 0x53b136ccu, 3},
    {"21", 0xc5f2f8ecu, 3},
    {"foobar", 0xd0e47bbeu, 0},
    {"a-little-bit-long-string", 0xc53b1da0u, 1},
    {"a-little-bit-longer-string", 0xa768c9c3u, 0},
    {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", 0xfc7d49cdu, 3},
    {"\xc3\xbcmlaut", 0xf9c8882bu, 2},
    {"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 0x555873cau, 6},
};

static void keys_go_where_java_sends_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(golden); i++) {
        assert_int_equal(partitioner_murmur2(span_text(golden[i].key)), golden[i].hash);
        assert_int_equal(partitioner_of_key(span_text(golden[i].key), 7), golden[i].partition_of_seven);
    }
}

/* Every length up to 66 and bytes of both signs, as one number: acc = acc * 31 + murmur2(bytes) over b[i] = i * 31 + n * 7. */
static void a_thousand_keys_hash_as_in_java(void **state)
{
    (void)state;
    uint32_t digest = 0;
    for (size_t n = 0; n < 1000; n++) {
        uint8_t bytes[67];
        size_t count = n % sizeof(bytes);
        for (size_t i = 0; i < count; i++) {
            bytes[i] = (uint8_t)(i * 31 + n * 7);
        }
        digest = digest * 31 + partitioner_murmur2(span_make(bytes, count));
    }
    assert_int_equal(digest, 0x5e689495u);
}

static void one_partition_takes_every_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(golden); i++) {
        assert_int_equal(partitioner_of_key(span_text(golden[i].key), 1), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_go_where_java_sends_them),
        cmocka_unit_test(a_thousand_keys_hash_as_in_java),
        cmocka_unit_test(one_partition_takes_every_key),
    };
    return cmocka_run_group_tests_name("partitioner", tests, NULL, NULL);
}
