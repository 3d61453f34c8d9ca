#include "cli/units.h"

#include <inttypes.h>
#include <stdio.h>

struct unit {
    const char *suffix;
    int64_t factor;
};

static const struct unit time_units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
static const struct unit size_units[] = {
    {"KiB", 1 << 10}, {"MiB", 1 << 20},   {"GiB", 1 << 30}, {"TiB", INT64_C(1) << 40}, {"kB", 1000}, {"KB", 1000},
    {"MB", 1000000},  {"GB", 1000000000}, {"B", 1},
};

/* A sign and digits; what is behind them goes to *ret_rest. */
static enum err units_number(struct span text, int64_t *ret_value, struct span *ret_rest)
{
    bool is_negative = text.bytes > 0 && text.data[0] == '-';
    size_t pos = is_negative ? 1 : 0;
    int64_t value = 0;
    size_t digit_count = 0;
    for (; pos < text.bytes && text.data[pos] >= '0' && text.data[pos] <= '9'; pos++) {
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, text.data[pos] - '0', &value)) {
            return ERR_INVALID;
        }
        digit_count++;
    }
    if (digit_count == 0) {
        return ERR_INVALID;
    }
    *ret_value = is_negative ? -value : value;
    *ret_rest = span_sub(text, pos, text.bytes - pos);
    return ERR_OK;
}

enum err units_parse_number(struct span text, int64_t *ret_value)
{
    int64_t value = 0;
    struct span rest;
    enum err err = units_number(text, &value, &rest);
    if (err != ERR_OK || rest.bytes > 0) {
        return ERR_INVALID;
    }
    *ret_value = value;
    return ERR_OK;
}

static enum err units_parse(struct span text, const struct unit *units, size_t unit_count, int64_t *ret_value)
{
    int64_t value = 0;
    struct span rest;
    enum err err = units_number(text, &value, &rest);
    if (err != ERR_OK) {
        return err;
    }
    if (rest.bytes == 0) {
        *ret_value = value;
        return ERR_OK;
    }
    for (size_t i = 0; i < unit_count; i++) {
        if (span_equal_text(rest, units[i].suffix)) {
            return __builtin_mul_overflow(value, units[i].factor, ret_value) ? ERR_INVALID : ERR_OK;
        }
    }
    return ERR_INVALID;
}

enum err units_parse_ms(struct span text, int64_t *ret_ms)
{
    return units_parse(text, time_units, ARRAY_COUNT(time_units), ret_ms);
}

enum err units_parse_bytes(struct span text, int64_t *ret_bytes)
{
    return units_parse(text, size_units, ARRAY_COUNT(size_units), ret_bytes);
}

static bool units_ends_with(struct span name, const char *end)
{
    size_t bytes = strlen(end);
    return name.bytes >= bytes && memcmp(name.data + name.bytes - bytes, end, bytes) == 0;
}

enum err units_setting_value(struct span name, struct span text, char *ret_text, size_t ret_text_bytes)
{
    int64_t value = 0;
    int count = 0;
    enum err err = ERR_OK;
    if (units_ends_with(name, ".ms")) {
        err = units_parse_ms(text, &value);
    } else if (units_ends_with(name, ".bytes")) {
        err = units_parse_bytes(text, &value);
    } else {
        count = snprintf(ret_text, ret_text_bytes, "%.*s", (int)text.bytes, (const char *)text.data);
        return count < 0 || (size_t)count >= ret_text_bytes ? ERR_LIMIT : ERR_OK;
    }
    if (err == ERR_OK) {
        count = snprintf(ret_text, ret_text_bytes, "%" PRId64, value);
        err = count < 0 || (size_t)count >= ret_text_bytes ? ERR_LIMIT : ERR_OK;
    }
    return err;
}

const char *units_format_bytes(uint64_t bytes, char ret_text[UNITS_TEXT_BYTES])
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t i = 0;
    for (; value >= 1024 && i + 1 < ARRAY_COUNT(names); i++) {
        value /= 1024;
    }
    (void)snprintf(ret_text, UNITS_TEXT_BYTES, i == 0 ? "%.0f %s" : "%.1f %s", value, names[i]);
    return ret_text;
}

/* ---- moments: the proleptic Gregorian calendar in UTC ---- */

/* Days since 1970-01-01. March is counted as the first month, so that the leap day is the last of its year. */
static int64_t units_days(int64_t year, int64_t month, int64_t day)
{
    int64_t years = month <= 2 ? year - 1 : year;
    int64_t months = month <= 2 ? month + 9 : month - 3;
    return 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day - 1 - 719468;
}

enum err units_parse_time(struct span text, int64_t *ret_ms)
{
    if (units_parse_number(text, ret_ms) == ERR_OK) {
        return ERR_OK;
    }
    char copy[UNITS_TEXT_BYTES];
    int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, milli = 0, used = 0;
    if (text.bytes >= sizeof(copy)) {
        return ERR_INVALID;
    }
    memcpy(copy, text.data, text.bytes);
    copy[text.bytes] = '\0';
    if (text.bytes > 0 && copy[text.bytes - 1] == 'Z') {
        copy[text.bytes - 1] = '\0';
    }
    int length = (int)strlen(copy);
    bool is_date = sscanf(copy, "%4d-%2d-%2d%n", &year, &month, &day, &used) == 3 && used == length;
    bool is_time =
        !is_date && sscanf(copy, "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second, &used) == 6;
    if (is_time && used < length) {
        int tail = 0;
        is_time = sscanf(copy + used, ".%3d%n", &milli, &tail) == 1 && used + tail == length && tail == 4;
    }
    if ((!is_date && !is_time) || year < 1970 || month < 1 || month > 12) {
        return ERR_INVALID;
    }
    int64_t ms = ((units_days(year, month, day) * 24 + hour) * 60 + minute) * 60000 + second * 1000 + milli;
    /* A moment that exists comes back as it was written: not so the 31st of February, 24:00, or a sign in front. */
    char again[UNITS_TEXT_BYTES];
    if (strncmp(units_format_time(ms, again), copy, (size_t)length) != 0) {
        return ERR_INVALID;
    }
    *ret_ms = ms;
    return ERR_OK;
}

const char *units_format_time(int64_t ms, char ret_text[UNITS_TEXT_BYTES])
{
    int64_t days = ms / 86400000 - (ms % 86400000 < 0 ? 1 : 0);
    int64_t rest_ms = ms - days * 86400000;
    int64_t z = days + 719468;
    int64_t era = z / 146097 - (z % 146097 < 0 ? 1 : 0);
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    int64_t day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    int64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);
    (void)snprintf(ret_text, UNITS_TEXT_BYTES,
                   "%04" PRId64 "-%02" PRId64 "-%02" PRId64 "T%02" PRId64 ":%02" PRId64 ":%02" PRId64 ".%03" PRId64 "Z",
                   year, month, day, rest_ms / 3600000, rest_ms / 60000 % 60, rest_ms / 1000 % 60, rest_ms % 1000);
    return ret_text;
}
