#!/usr/bin/env python3
"""kmsg: makes C structs and codec tables from the schema files (notation: kmsg_parse.py; tables: proto/wire/codec.h).

    kmsg.py OUT_DIR SCHEMA.kmsg...   writes <schema>.h for each, kmsg_tables.c, api_rows.h and all.h
"""
import os
import re
import sys

from kmsg_parse import SchemaError, parse_file

C_TYPES = {"bool": "bool", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "int64": "int64_t",
           "uint16": "uint16_t", "uint32": "uint32_t", "float64": "double", "uuid": "struct uuid",
           "string": "struct span", "bytes": "struct span", "records": "struct kmsg_records"}
WIRE_BYTES = {"bool": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "float64": 8,
              "uuid": 16}
C_KEYWORDS = set("auto break case char const continue default do double else enum extern float for goto if inline int long"
                 " register restrict return short signed sizeof static struct switch typedef union unsigned void"
                 " volatile while bool true false".split())
NEVER = "{1, 0}"


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def member(name):
    text = snake(name)
    return text + "_" if text in C_KEYWORDS else text


def c_struct_name(api, message, struct):
    """message_struct, where the struct's own name does not repeat what it lies in."""
    prefix, own = snake(message.name), snake(struct.name)
    if struct is message.root:
        return prefix
    for repeated in (prefix + "_", snake(api.name) + "_"):
        if own.startswith(repeated):
            own = own[len(repeated):]
            break
    return f"{prefix}_{own}"


def structs_inside_out(message):
    """All structs of a message, each after those that it contains."""
    order = []

    def visit(struct):
        for field in struct.fields:
            if field.is_struct:
                visit(field.struct)
        if not any(struct is known for known in order):
            order.append(struct)

    visit(message.root)
    return order


def versions_of_structs(api, message):
    """{id of struct: set of the versions in which it can occur}."""
    found = {}

    def visit(struct, versions):
        found.setdefault(id(struct), set()).update(versions)
        for field in struct.fields:
            if field.is_struct:
                visit(field.struct, {version for version in versions if within(field.versions, version)})

    visit(message.root, set(range(api.versions[0], api.versions[1] + 1)))
    return found


def wire_bytes_min(api, message, struct):
    """The least bytes that a struct takes in any version where it occurs; at least 1, so that counts are always bounded."""
    def at(struct, version):
        flexible = api.flexible is not None and version >= api.flexible
        total = 1 if flexible else 0
        for field in struct.fields:
            if not within(field.versions, version) or within(field.tagged, version):
                continue
            if field.is_array or field.type in ("bytes", "records"):
                total += 1 if flexible else 4
            elif field.type == "string":
                total += 1 if flexible else 2
            elif field.is_struct:
                total += 1 if within(field.nullable, version) else at(field.struct, version)
            else:
                total += WIRE_BYTES[field.type]
        return total

    return max(1, min(at(struct, version) for version in versions_of_structs(api, message)[id(struct)]))


def within(versions, version):
    return versions is not None and versions[0] <= version <= versions[1]


def is_pointer(field):
    return field.is_struct and not field.is_array and field.nullable is not None


def show_versions(versions, outer):
    if versions == outer:
        return ""
    first, last = versions
    return f", versions {first}+" if last == outer[1] else f", versions {first}-{last}" if last > first \
        else f", version {first}"


def emit_struct(api, message, struct):
    name = c_struct_name(api, message, struct)
    names = []
    out = [f"struct {name} {{"]
    for field in struct.fields:
        text = member(field.name)
        c_type = f"struct {c_struct_name(api, message, field.struct)}" if field.is_struct else C_TYPES[field.type]
        star = "*" if field.is_array or is_pointer(field) else ""
        note = field.name + show_versions(field.versions, api.versions)
        note += ", may be null" if field.nullable else ""
        if field.default is not None:
            note += f", default {str(field.default).lower()}"
        out.append(f"    {c_type} {star}{text}; /* {note} */")
        names.append(text)
        if field.is_array:
            out.append(f"    size_t {text}_count;")
            names.append(text + "_count")
    out += ["};", f"extern const struct codec_struct {name}_layout;", ""]
    if len(set(names)) != len(names):
        raise SchemaError(f"{name}: two members have one name")
    return out


def emit_header(api, source):
    guard = f"PROTO_KMSG_{snake(api.name).upper()}_H"
    out = [f"/* {snake(api.name)}: {api.about} Kafka API {api.key}, versions {api.versions[0]}-{api.versions[1]}.",
           f" * Made by proto/gen/kmsg.py from {source}; how members stand for nulls, arrays and records: "
           "proto/wire/codec.h. */",
           f"#ifndef {guard}", f"#define {guard}", "", '#include "proto/wire/codec.h"', ""]
    for message in (api.request, api.response):
        names = [c_struct_name(api, message, struct) for struct in structs_inside_out(message)]
        if len(set(names)) != len(names):
            raise SchemaError(f"{message.name}: two structs have one name: {names}")
        for struct in structs_inside_out(message):
            out += emit_struct(api, message, struct)
        out += [f"extern const struct codec_message {snake(message.name)}_codec;", ""]
    return out + ["#endif", ""]


def c_range(versions):
    return NEVER if versions is None else f"{{{versions[0]}, {versions[1]}}}"


def c_int(value):
    return "INT64_MIN" if value == -2**63 else f"INT64_C({value})"


def emit_field(api, message, owner, field):
    text = member(field.name)
    flags = [flag for flag, wanted in (("CODEC_ARRAY", field.is_array), ("CODEC_IGNORABLE", field.ignorable),
                                       ("CODEC_DEFAULT_NULL", field.default == "null"),
                                       ("CODEC_POINTER", is_pointer(field))) if wanted]
    parts = [f'.name = "{field.name}"', f".offset = offsetof(struct {owner}, {text})",
             f".kind = CODEC_{'STRUCT' if field.is_struct else field.type.upper()}",
             f".present = {c_range(field.versions)}", f".nullable = {c_range(field.nullable)}",
             f".tagged = {c_range(field.tagged)}"]
    if field.is_array:
        parts.append(f".count_offset = offsetof(struct {owner}, {text}_count)")
    if field.is_struct:
        parts.append(f".child = &{c_struct_name(api, message, field.struct)}_layout")
    if field.tag is not None:
        parts.append(f".tag = {field.tag}")
    if field.default not in (None, "null"):
        parts.append(f".default_int = {c_int(int(field.default))}")
    if flags:
        parts.append(f".flags = {' | '.join(flags)}")
    return "    {" + ", ".join(parts) + "},"


def emit_layout(api, message, struct):
    name = c_struct_name(api, message, struct)
    tagged = sorted((field.tag, index) for index, field in enumerate(struct.fields) if field.tag is not None)
    if len(struct.fields) > 255:
        raise SchemaError(f"{name}: more than 255 fields")
    out = []
    if struct.fields:
        out.append(f"static const struct codec_field {name}_fields[] = {{")
        out += [emit_field(api, message, name, field) for field in struct.fields]
        out.append("};")
    if tagged:
        out.append(f"static const uint8_t {name}_tags[] = {{{', '.join(str(index) for _, index in tagged)}}};")
    out += [f"const struct codec_struct {name}_layout = {{",
            f'    .name = "{struct.name}", .fields = {name + "_fields" if struct.fields else "NULL"},'
            f' .fields_count = {len(struct.fields)},',
            f'    .tagged_fields = {name + "_tags" if tagged else "NULL"}, .tagged_fields_count = {len(tagged)},',
            f"    .struct_bytes = sizeof(struct {name}), .wire_bytes_min = {wire_bytes_min(api, message, struct)}}};"]
    return out


def emit_tables(apis):
    out = ["/* Made by proto/gen/kmsg.py from proto/schema/. */"]
    out += [f'#include "proto/kmsg/{snake(api.name)}.h"' for api in apis] + [""]
    for api in apis:
        flexible = "CODEC_VERSION_NEVER" if api.flexible is None else str(api.flexible)
        for message in (api.request, api.response):
            for struct in structs_inside_out(message):
                out += emit_layout(api, message, struct)
            name = snake(message.name)
            out += [f"const struct codec_message {name}_codec = {{",
                    f'    .name = "{message.name}", .api_key = {api.key}, .versions = {c_range(api.versions)},',
                    f"    .flexible_first = {flexible}, .body = &{name}_layout}};", ""]
    return out


def emit_rows(apis):
    out = ["/* Made by proto/gen/kmsg.py from proto/schema/: the rows of proto/api/api_table.h, by key. */",
           "/* X(key, NAME, stem, name, first served, last served, first advertised, first flexible) */",
           "#define KMSG_API_ROWS(X) \\"]
    for api in apis:
        name = snake(api.name)
        last = api.versions[1] if api.unstable is None else api.unstable - 1
        flexible = "CODEC_VERSION_NEVER" if api.flexible is None else str(api.flexible)
        out.append(f'    X({api.key}, {name.upper()}, {name}, "{api.name}", {api.versions[0]}, {last}, {api.advertise}, '
                   f"{flexible}) \\")
    out[-1] = out[-1][:-2]
    return out + [""]


def emit_all(apis):
    return (["/* Made by proto/gen/kmsg.py: every message, for tools and tests that go through all APIs. */",
             "#ifndef PROTO_KMSG_ALL_H", "#define PROTO_KMSG_ALL_H", ""]
            + [f'#include "proto/kmsg/{snake(api.name)}.h"' for api in apis] + ["", "#endif", ""])


def write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) if lines[-1] == "" else "\n".join(lines) + "\n")


def main(out_dir, sources):
    apis = []
    for source in sources:
        api = parse_file(source)
        stem = os.path.splitext(os.path.basename(source))[0]
        if snake(api.name) != stem:
            raise SchemaError(f"{source}: API {api.name} belongs in {snake(api.name)}.kmsg")
        apis.append(api)
        write(os.path.join(out_dir, stem + ".h"), emit_header(api, f"proto/schema/{stem}.kmsg"))
    apis.sort(key=lambda api: api.key)
    if len({api.key for api in apis}) != len(apis):
        raise SchemaError("two schemas have one API key")
    write(os.path.join(out_dir, "kmsg_tables.c"), emit_tables(apis))
    write(os.path.join(out_dir, "api_rows.h"), emit_rows(apis))
    write(os.path.join(out_dir, "all.h"), emit_all(apis))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        main(sys.argv[1], sys.argv[2:])
    except SchemaError as failure:
        sys.exit(f"kmsg: {failure}")
