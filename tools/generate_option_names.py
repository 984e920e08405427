"""Generate ``grpc_heartbeat/options/_known.py``: every channel argument that gRPC's C core reads, from its own sources.

    pip download grpcio==VERSION --no-binary grpcio --no-deps
    python tools/generate_option_names.py grpcio-1.66.2.tar.gz grpcio-1.85.1.tar.gz

Give the sdists of the oldest and the newest supported release, in this order; the last one's wording of a name wins.

A string is a channel argument when a header defines it as ``GRPC_ARG_…`` or when code reads, sets or removes it through
``ChannelArgs``. Its type is that of the getter that reads it: this is what decides whether a value is used or ignored.
"""

from __future__ import annotations

import re
import sys
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "grpc_heartbeat" / "options" / "_known.py"

PUBLIC_HEADER = re.compile(r"include/grpc/impl/(channel_arg_names|compression_types|grpc_types)\.h$")
SOURCE = re.compile(r"(?:include/grpc|src/core)/.+\.(?:h|cc)$")
DEFINE = re.compile(r'#define\s+(\w+)\s*(?:\\\s*)?"(grpc[._][^"\s]+|SingleThreaded\w+)"')
ALIAS = re.compile(r"#define\s+(GRPC_ARG_\w+)\s*(?:\\\s*)?(GRPC_ARG_\w+)\s*$", re.MULTILINE)
CONSTANT = re.compile(r'\b(k[A-Z]\w+|GRPC_\w+)(?:\[\])?\s*=\s*"(grpc\.[^"\s]+)"')
WORD = r'(?:"(?P<literal>grpc\.[^"\s]+)"|(?P<macro>\w+))'
GETTER = re.compile(
    r"\b(?P<verb>GetInt|GetBool|GetString|GetOwnedString|GetDurationFromIntMillis|GetPointer|GetVoidPointer|GetObject"
    r"|GetObjectRef|SetIfUnset|Set|Remove|Contains|grpc_channel_arg_(?P<create>integer|string|pointer)_create"
    r"|grpc_channel_args_find(?:_integer|_bool|_string|_pointer)?)(?:<[^<>]*>)?\(\s*"
    r"(?:const_cast<char\*>\(\s*)?(?:args,\s*)?" + WORD
)
ARG_NAME = re.compile(r"ChannelArgName\(\)\s*\{\s*return\s+" + WORD)
KINDS = {
    "GetDurationFromIntMillis": "milliseconds",
    "GetBool": "flag",
    "GetInt": "integer",
    "GetString": "text",
    "GetOwnedString": "text",
    "GetPointer": "object",
    "GetVoidPointer": "object",
    "GetObject": "object",
    "GetObjectRef": "object",
    "integer": "integer",
    "string": "text",
    "pointer": "object",
}
TABLE = (
    "Source file → a line for each name in it: name, kind of value, indices in VERSIONS of the releases that know it."
)
STRONGEST = ["milliseconds", "flag", "text", "object", "integer"]
"""Of several getters, the one that says most: a duration is read by ``GetInt`` in places too."""


class Known(NamedTuple):
    """What one release says about a name."""

    kind: str
    source: str


def names(sdist: Path) -> tuple[str, dict[str, Known]]:
    """Return the version of ``sdist`` and the channel arguments in it."""
    files = read(sdist)
    macros: dict[str, str] = {}
    defined: dict[str, str] = {}
    for path, text in files.items():
        for macro, name in [*DEFINE.findall(text), *CONSTANT.findall(text)]:
            macros[macro] = name
            if macro.startswith("GRPC_ARG_") or PUBLIC_HEADER.search(path):
                defined.setdefault(name, path)
    for text in files.values():
        macros.update({alias: macros[macro] for alias, macro in ALIAS.findall(text) if macro in macros})
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for path, text in files.items():
        for match in GETTER.finditer(text):
            if name := match["literal"] or macros.get(match["macro"] or ""):
                defined.setdefault(name, path)
                if kind := KINDS.get(match["create"] or match["verb"]):
                    kinds[name].add(kind)
        for match in ARG_NAME.finditer(text):
            if name := match["literal"] or macros.get(match["macro"] or ""):
                defined.setdefault(name, path)
                kinds[name].add("object")
    version = sdist.name.removeprefix("grpcio-").removesuffix(".tar.gz")
    return version, {
        name: known(name, path, kinds[name]) for name, path in defined.items() if not name.endswith((".", "_allow_"))
    }


def known(name: str, path: str, kinds: set[str]) -> Known:
    """Sum up what was found about ``name``."""
    kind = next((kind for kind in STRONGEST if kind in kinds), "integer")
    if name.endswith("_ms") and kind == "integer":
        kind = "milliseconds"
    return Known(kind, path)


def read(sdist: Path) -> dict[str, str]:
    """Return the text of the sources in ``sdist`` by path, headers first."""
    files: dict[str, str] = {}
    with tarfile.open(sdist) as archive:
        for member in archive:
            path = member.name.partition("/")[2]
            if SOURCE.match(path) and (file := archive.extractfile(member)) is not None:
                files[path] = file.read().decode()
    return dict(sorted(files.items(), key=lambda item: (not item[0].endswith(".h"), item[0])))


def module(releases: list[tuple[str, dict[str, Known]]]) -> str:
    """Return the text of the generated module."""
    merged = {name: found for _, names_ in releases for name, found in names_.items()}
    lines = [
        '"""Every channel argument of gRPC\'s C core. Generated by tools/generate_option_names.py: do not edit."""',
        "",
        "from __future__ import annotations",
        "",
        "VERSIONS = (" + ", ".join(f'"{version}"' for version, _ in releases) + ")",
        '"""The releases of grpcio whose sources were read, oldest first."""',
        "",
        "KNOWN: dict[str, str] = {",
    ]
    for source in sorted({found.source for found in merged.values()}, key=lambda path: (path.startswith("src"), path)):
        lines.append(f'    "{source}": """')
        for name, found in sorted(merged.items()):
            if found.source == source:
                indices = "".join(str(index) for index, (_, names_) in enumerate(releases) if name in names_)
                lines.append(f"{name} {found.kind} {indices}")
        lines.append('""",')
    lines += ["}", f'"""{TABLE}"""']
    return "\n".join([*lines, ""])


def main(sdists: list[str]) -> int:
    """Write the module; return 2 when no sdist was named."""
    if not sdists:
        print(__doc__, file=sys.stderr)
        return 2
    TARGET.write_text(module([names(Path(sdist)) for sdist in sdists]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
