"""Encodes and decodes every message of the Kafka protocol from Kafka's own specifications (JSON in its clients jar).

A message is a dict by field name. Encoding fills fields that are missing with their defaults and refuses unknown ones; decoding
returns the fields that the version has, and fails on bytes left over: both sides of a comparison are read by the letter.
"""
import json
import re
import struct
import uuid
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

NUMBERS = {"int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q", "float64": ">d"}
NO_UUID = str(uuid.UUID(int=0))


class Malformed(Exception):
    """The bytes are not the message that they should be."""


@dataclass(frozen=True)
class Versions:
    low: int
    high: int

    def __contains__(self, version):
        return self.low <= version <= self.high

    @staticmethod
    def parse(text):
        if not text or text == "none":
            return Versions(0, -1)
        low, _, high = text.partition("-")
        if low.endswith("+"):
            return Versions(int(low[:-1]), 32767)
        return Versions(int(low), int(high or low))


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count < 0 or self.at + count > len(self.data):
            raise Malformed(f"{count} bytes wanted at {self.at} of {len(self.data)}")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7
            if shift > 28:
                raise Malformed("varint too long")


def uvarint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Field:
    def __init__(self, spec, structs):
        self.name = spec["name"]
        self.versions = Versions.parse(spec.get("versions"))
        self.tagged = Versions.parse(spec.get("taggedVersions"))
        self.nullable = Versions.parse(spec.get("nullableVersions"))
        self.flexible = Versions.parse(spec["flexibleVersions"]) if "flexibleVersions" in spec else None
        self.tag = spec.get("tag")
        self.is_array = spec["type"].startswith("[]")
        self.type = spec["type"].removeprefix("[]")
        self.fields = [Field(sub, structs) for sub in spec["fields"]] if spec.get("fields") else structs.get(self.type)
        self.spec_default = spec.get("default")

    def default(self, version):
        if self.is_array:
            return None if self.spec_default == "null" else []
        if self.type in NUMBERS:
            text = str(self.spec_default) if self.spec_default not in (None, "") else "0"
            return float(text) if self.type == "float64" else int(text, 0)
        if self.type == "bool":
            return str(self.spec_default).lower() == "true"
        if self.spec_default == "null":
            return None
        if self.type == "string":
            return self.spec_default or ""
        if self.type == "uuid":
            return NO_UUID
        if self.type in ("bytes", "records"):
            return b""
        return {field.name: field.default(version) for field in self.fields if version in field.versions}

    # ---- encoding ----
    def encode(self, value, version, flexible):
        flexible = flexible and (self.flexible is None or version in self.flexible)
        if self.is_array:
            if value is None:
                return b"\0" if flexible else struct.pack(">i", -1)
            head = uvarint(len(value) + 1) if flexible else struct.pack(">i", len(value))
            return head + b"".join(self.encode_one(item, version, flexible, False) for item in value)
        return self.encode_one(value, version, flexible, version in self.nullable)

    def encode_one(self, value, version, flexible, nullable):
        if self.type in NUMBERS:
            return struct.pack(NUMBERS[self.type], value)
        if self.type == "bool":
            return b"\1" if value else b"\0"
        if self.type == "uuid":
            return uuid.UUID(value).bytes
        if self.type in ("string", "bytes", "records"):
            short = self.type == "string" and not flexible
            if value is None:
                return b"\0" if flexible else struct.pack(">h" if short else ">i", -1)
            raw = value.encode() if isinstance(value, str) else bytes(value)
            return (uvarint(len(raw) + 1) if flexible else struct.pack(">h" if short else ">i", len(raw))) + raw
        if nullable:
            if value is None:
                return b"\xff"
            return b"\1" + encode_struct(self.fields, value, version, flexible)
        return encode_struct(self.fields, value, version, flexible)

    # ---- decoding ----
    def decode(self, reader, version, flexible):
        flexible = flexible and (self.flexible is None or version in self.flexible)
        if self.is_array:
            count = reader.uvarint() - 1 if flexible else reader.number(">i")
            if count < 0:
                return None
            return [self.decode_one(reader, version, flexible, False) for _ in range(count)]
        return self.decode_one(reader, version, flexible, version in self.nullable)

    def decode_one(self, reader, version, flexible, nullable):
        if self.type in NUMBERS:
            return reader.number(NUMBERS[self.type])
        if self.type == "bool":
            return reader.take(1) != b"\0"
        if self.type == "uuid":
            return str(uuid.UUID(bytes=reader.take(16)))
        if self.type in ("string", "bytes", "records"):
            short = self.type == "string" and not flexible
            count = reader.uvarint() - 1 if flexible else reader.number(">h" if short else ">i")
            if count < 0:
                return None
            raw = reader.take(count)
            return raw.decode() if self.type == "string" else raw
        if nullable and reader.number(">b") < 0:
            return None
        return decode_struct(self.fields, reader, version, flexible)


def encode_struct(fields, value, version, flexible):
    unknown = set(value) - {field.name for field in fields if version in field.versions}
    if unknown:
        raise ValueError(f"version {version} has no field {', '.join(sorted(unknown))}")
    out, tagged = [], []
    for field in fields:
        if version not in field.versions:
            continue
        if flexible and version in field.tagged:
            if field.name in value:
                tagged.append((field.tag, field.encode(value[field.name], version, flexible)))
        else:
            out.append(field.encode(value[field.name] if field.name in value else field.default(version), version, flexible))
    if flexible:
        out.append(uvarint(len(tagged)))
        for tag, raw in sorted(tagged):
            out.append(uvarint(tag) + uvarint(len(raw)) + raw)
    return b"".join(out)


def decode_struct(fields, reader, version, flexible):
    value = {}
    tagged = {}
    for field in fields:
        if version not in field.versions:
            continue
        if flexible and version in field.tagged:
            tagged[field.tag] = field
            value[field.name] = field.default(version)
        else:
            value[field.name] = field.decode(reader, version, flexible)
    if flexible:
        for _ in range(reader.uvarint()):
            tag, raw = reader.uvarint(), Reader(reader.take(reader.uvarint()))
            if tag not in tagged:
                value[f"unknown tag {tag}"] = raw.data.hex()
                continue
            value[tagged[tag].name] = tagged[tag].decode(raw, version, flexible)
            if raw.at != len(raw.data):
                raise Malformed(f"bytes left over in tag {tag}")
    return value


class Message:
    def __init__(self, spec):
        self.api_key = spec.get("apiKey")
        self.valid = Versions.parse(spec["validVersions"])
        self.flexible = Versions.parse(spec["flexibleVersions"])
        structs = {}
        for common in spec.get("commonStructs", []):
            structs[common["name"]] = [Field(sub, structs) for sub in common["fields"]]
        self.fields = [Field(sub, structs) for sub in spec["fields"]]

    def encode(self, value, version):
        return encode_struct(self.fields, value, version, version in self.flexible)

    def decode(self, data, version):
        reader = Reader(data)
        value = decode_struct(self.fields, reader, version, version in self.flexible)
        if reader.at != len(data):
            raise Malformed(f"{len(data) - reader.at} bytes left over")
        return value


class Protocol:
    """All messages: protocol.request("Fetch"), protocol.response("Fetch")."""

    def __init__(self, texts):
        self.messages = {}
        for text in texts:
            spec = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
            if spec.get("type") in ("request", "response") and spec["validVersions"] != "none":
                self.messages[spec["name"]] = Message(spec)

    @staticmethod
    @lru_cache
    def from_jars(lib_folder):
        """From the clients jar in `lib_folder`."""
        jar = next(Path(lib_folder).glob("kafka-clients-*.jar"))
        with zipfile.ZipFile(jar) as archive:
            names = [name for name in archive.namelist() if name.startswith("common/message/") and name.endswith(".json")]
            return Protocol([archive.read(name).decode() for name in names])

    def request(self, api):
        return self.messages[f"{api}Request"]

    def response(self, api):
        return self.messages[f"{api}Response"]

    def spread(self, api, highest=None):
        """Versions worth testing: the lowest, the highest, one between, and both sides of the flexible border."""
        message = self.request(api)
        low, high = message.valid.low, highest if highest is not None else message.valid.high
        border = message.flexible.low
        return sorted({version for version in (low, (low + high) // 2, border - 1, border, high) if low <= version <= high})
