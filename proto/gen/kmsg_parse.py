"""kmsg_parse: reads the schema notation of proto/schema/*.kmsg into plain objects, with every rule checked.

The notation, one file per API:

    # One sentence about the API.
    api 1 Fetch versions 4-18 flexible 12+ [unstable 19+] [advertise 0]

    request
        Name   type  [versions] [tag N] [tagged versions] [ignorable] [= default]
            Child  type
    request struct Shared
        ...
    response
        ...

Types: bool int8 int16 int32 int64 uint16 uint32 float64 uuid string bytes records, `Name` for a struct, `[type]` for an
array; `?` behind it says that it may be null, `?7+` from which version on. A struct's fields stand below it, four spaces
deeper; a struct that is used in more than one place stands alone under `request struct` or `response struct`. Versions
are `3`, `3-5` or `3+`; left out, they are those of what the field lies in. Defaults are 0, false, empty and for records
null, unless `=` says otherwise. Field names are exactly Kafka's. `flexible none` exists; `unstable` versions are known to
the codec but not served; `advertise` is the lowest version that ApiVersions names where that is lower than what is served.
"""
import re

PRIMITIVES = ("bool", "int8", "int16", "int32", "int64", "uint16", "uint32", "float64", "uuid", "string", "bytes",
              "records")
INTEGERS = {"int8": (-2**7, 2**7 - 1), "int16": (-2**15, 2**15 - 1), "int32": (-2**31, 2**31 - 1),
            "int64": (-2**63, 2**63 - 1), "uint16": (0, 2**16 - 1), "uint32": (0, 2**32 - 1)}
NULLABLE = ("string", "bytes", "records")
INDENT = 4
LINE = re.compile(r"(?P<name>[A-Za-z]\w*)\s+(?P<open>\[?)(?P<type>\w+)(?P<close>\]?)(?P<null>\?)?(?P<nullable>\d[\d+-]*)?"
                  r"(?P<rest>(\s.*)?)$")


class SchemaError(Exception):
    """A schema file that breaks a rule, with its place."""


class Struct:
    def __init__(self, name):
        self.name = name
        self.fields = []


class Field:
    """One field. `versions`, `nullable` and `tagged` are (first, last) or None, cut to what they lie in."""

    def __init__(self, name, type_name, is_array):
        self.name = name
        self.type = type_name
        self.is_array = is_array
        self.struct = None
        self.versions = self.nullable = self.tagged = self.tag = None
        self.ignorable = False
        self.default = None  # None, an int, a bool, or "null"

    @property
    def is_struct(self):
        return self.type not in PRIMITIVES


class Message:
    """A request or a response: `root` and the structs that stand alone."""

    def __init__(self, name):
        self.name = name
        self.root = Struct(name)
        self.shared = {}


class Api:
    def __init__(self, key, name):
        self.key = key
        self.name = name
        self.about = ""
        self.versions = None
        self.flexible = None  # first flexible version
        self.unstable = None  # first unstable version
        self.advertise = None
        self.request = Message(name + "Request")
        self.response = Message(name + "Response")


def parse_versions(text, outer):
    """'3', '3-5' or '3+' cut to the range `outer`."""
    match = re.fullmatch(r"(\d+)(?:(\+)|-(\d+))?", text)
    if not match:
        raise SchemaError(f"'{text}' is not a version, a range like 3-5 or 3+")
    first = int(match[1])
    last = outer[1] if match[2] else int(match[3]) if match[3] else first
    if first < outer[0] or last > outer[1] or first > last:
        raise SchemaError(f"versions {text} do not lie in {outer[0]}-{outer[1]}")
    return first, last


def parse_api(line):
    words = line.split()
    if len(words) < 4 or words[0] != "api":
        raise SchemaError("the first line is: api KEY NAME versions A-B flexible N+")
    api = Api(int(words[1]), words[2])
    options = dict(zip(words[3::2], words[4::2]))
    api.versions = parse_versions(options.pop("versions"), (0, 2**15 - 2))
    flexible = options.pop("flexible")
    api.flexible = None if flexible == "none" else parse_versions(flexible, (0, api.versions[1]))[0]
    if "unstable" in options:
        api.unstable = parse_versions(options.pop("unstable"), api.versions)[0]
    api.advertise = int(options.pop("advertise", api.versions[0]))
    if options:
        raise SchemaError(f"unknown words: {' '.join(options)}")
    return api


def parse_default(field, text):
    if text == "null":
        if field.nullable != field.versions:
            raise SchemaError("only a field that may be null in all its versions has null as its default")
        return "null"
    if field.is_array or field.type not in (*INTEGERS, "bool"):
        raise SchemaError(f"{field.type} takes no default but null")
    if field.type == "bool":
        if text not in ("true", "false"):
            raise SchemaError("a bool is true or false")
        return text == "true"
    low, high = INTEGERS[field.type]
    value = int(text, 0)
    if not low <= value <= high:
        raise SchemaError(f"{text} does not fit {field.type}")
    return value


def parse_field(text, outer, flexible):
    match = LINE.match(text)
    if not match or bool(match["open"]) != bool(match["close"]) or (match["nullable"] and not match["null"]):
        raise SchemaError(f"'{text}' is not: Name type [versions] [tag N] [ignorable] [= default]")
    field = Field(match["name"], match["type"], bool(match["open"]))
    words = match["rest"].split()
    field.versions = outer
    if words and words[0][0].isdigit():
        field.versions = parse_versions(words.pop(0), outer)
    if match["null"]:
        if not (field.is_array or field.is_struct or field.type in NULLABLE):
            raise SchemaError(f"{field.type} can't be null")
        field.nullable = parse_versions(match["nullable"], field.versions) if match["nullable"] else field.versions
    while words:
        word = words.pop(0)
        if word == "ignorable":
            field.ignorable = True
        elif word == "tag":
            field.tag = int(words.pop(0))
            field.tagged = field.versions
        elif word == "tagged" and field.tag is not None:
            field.tagged = parse_versions(words.pop(0), field.versions)
        elif word == "=":
            field.default = parse_default(field, words.pop(0))
        else:
            raise SchemaError(f"unknown word '{word}'")
    if field.tagged and (flexible is None or field.tagged[0] < flexible):
        raise SchemaError("a field can be tagged only in flexible versions")
    if field.is_struct and not field.is_array and field.nullable and field.default != "null":
        raise SchemaError("a struct that may be null has null as its default")
    return field


class Parser:
    def __init__(self, text):
        self.lines = text.split("\n")
        self.about = []
        self.api = None
        self.message = None
        self.stack = []  # (indent of its fields, struct, versions)

    def section(self, words):
        if words[0] not in ("request", "response") or len(words) not in (1, 3) or (words[1:2] or ["struct"]) != ["struct"]:
            raise SchemaError("expected: request, response, request struct NAME or response struct NAME")
        self.message = getattr(self.api, words[0])
        struct = self.message.root
        if len(words) == 3:
            struct = self.message.shared[words[2]] = Struct(words[2])
        self.stack = [(INDENT, struct, self.api.versions)]

    def field(self, indent, text):
        while self.stack and self.stack[-1][0] > indent:
            self.stack.pop()
        if not self.stack or self.stack[-1][0] != indent:
            raise SchemaError(f"indentation of {indent} spaces fits no struct above")
        _, struct, versions = self.stack[-1]
        field = parse_field(text, versions, self.api.flexible)
        if any(other.name == field.name for other in struct.fields):
            raise SchemaError(f"{field.name} occurs twice")
        if field.tag is not None and any(other.tag == field.tag for other in struct.fields):
            raise SchemaError(f"tag {field.tag} is used twice")
        struct.fields.append(field)
        if field.is_struct:
            field.struct = Struct(field.type)
            self.stack.append((indent + INDENT, field.struct, field.versions))

    def line(self, raw):
        text = raw.split("#")[0].rstrip()
        if not text:
            if self.api is None and raw.startswith("# "):
                self.about.append(raw[2:].strip())
            return
        indent = len(text) - len(text.lstrip())
        if self.api is None:
            self.api = parse_api(text)
            self.api.about = " ".join(self.about)
        elif indent == 0:
            self.section(text.split())
        elif self.message is None:
            raise SchemaError("a field stands before 'request'")
        else:
            self.field(indent, text.strip())

    def run(self):
        for number, raw in enumerate(self.lines, 1):
            try:
                self.line(raw)
            except (SchemaError, ValueError, IndexError, KeyError) as error:
                raise SchemaError(f"line {number}: {error}") from error
        if self.api is None:
            raise SchemaError("no api line")
        for message in (self.api.request, self.api.response):
            resolve(message, message.root, [])
            for shared in message.shared.values():
                resolve(message, shared, [])
        return self.api


def resolve(message, struct, path):
    """Bind the names of shared structs; a struct without fields must be one. No struct contains itself."""
    if struct.name in path:
        raise SchemaError(f"struct {struct.name} contains itself")
    for field in struct.fields:
        if field.is_struct:
            if not field.struct.fields:
                if field.type not in message.shared:
                    raise SchemaError(f"{message.name}: struct {field.type} has no fields")
                field.struct = message.shared[field.type]
            resolve(message, field.struct, path + [struct.name])


def parse_file(path):
    with open(path, encoding="utf-8") as file:
        try:
            return Parser(file.read()).run()
        except SchemaError as error:
            raise SchemaError(f"{path}: {error}") from error
