"""Names of attributes and blocks in modules/gcp, held against those of Google's provider. Needs Python alone.

Google's provider is on few machines. Its names are in google.json, for the resources that the modules have, taken from the package
@cdktf/provider-google of npm, which is made from the provider's schema (google 6.50): `npm pack` it, unpack it, and run
`google.py --write FOLDER` where a module has a new resource. What is checked: that every name is one, and that none that is
required is missing. What is not: types, values, references; nothing was ever planned.
"""

import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
NAMES = HERE / "google.json"
MODULES = HERE.parent / "modules/gcp"
# Terraform's own, in every resource.
OWN = {"count", "depends_on", "for_each", "lifecycle", "provider", "provisioner", "connection"}
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_][\w-]*|(?:#|//).*|\n|[{}()\[\]]|[^\s"]')

STRING = re.compile(r'"(?:[^"\\$]|\\.|\$(?!\{)|\$\{[^}]*\})*"')


class Body:
    """What stands between two braces: names of attributes, and blocks by name."""

    def __init__(self, tokens):
        self.attributes, self.blocks = [], []
        while tokens and tokens[0] != "}":
            name = tokens.pop(0)
            if name == "\n" or name.startswith(("#", "//")):
                continue
            if tokens[0] == "=":
                self.attributes.append(name)
                skip_expression(tokens)
                continue
            labels = []
            while tokens[0] != "{":
                labels.append(tokens.pop(0).strip('"'))
            tokens.pop(0)
            self.blocks.append((name, labels, Body(tokens)))
            tokens.pop(0)


def skip_expression(tokens):
    """To the end of the line on which all brackets are closed."""
    depth = 0
    while tokens and (depth or tokens[0] not in ("\n", "}")):
        token = tokens.pop(0)
        depth += (token in "{([") - (token in "})]")


def wrong(place, body, names):
    """Every name that the provider does not have, or that is required and not there."""
    given = [(name, None) for name in body.attributes]
    for name, labels, inner in body.blocks:
        if name == "dynamic":
            content = next(within for kind, _, within in inner.blocks if kind == "content")
            given.append((labels[0], content))
        else:
            given.append((name, inner))
    for name, inner in given:
        if name in OWN or name == "timeouts":
            continue
        if name not in names["has"]:
            yield f"{place}.{name} is no name of the provider"
        elif inner is not None and isinstance(names["has"][name], dict):
            yield from wrong(f"{place}.{name}", inner, names["has"][name])
    for name in names["requires"]:
        if name not in (given_name for given_name, _ in given):
            yield f"{place}.{name} is required and not there"


def resources():
    """Every resource of the modules: file, type, body."""
    for file in sorted(MODULES.glob("*/*.tf")):
        # A string may have others in what is interpolated; what it says has no names of ours.
        text = STRING.sub(lambda found: '"' + re.sub(r"[^\w./-]", "_", found[0][1:-1]) + '"', file.read_text())
        for kind, labels, body in Body(TOKENS.findall(text)).blocks:
            if kind == "resource":
                yield file, labels[0], body


def snake(name):
    return re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), name)


def schema(package, kind):
    """Names of one resource, out of the code that writes it and the type of its settings."""
    folder = package / "lib" / kind.removeprefix("google_").replace("_", "-")
    code, types = (folder / "index.js").read_text(), (folder / "index.d.ts").read_text()
    written = dict(re.findall(r"function (\w+)ToHclTerraform\(struct\) \{(.*?)\n\}\n", code, re.S))

    def required(interface):
        found = re.search(rf"export interface {interface} .*?\{{(.*?)\n\}}", types, re.S | re.I)
        return sorted(snake(name) for name in re.findall(r"readonly (\w+): ", found[1])) if found else []

    def nested(text, indent, interface):
        has = {}
        for name, body in re.findall(rf"^{indent}(\w+): \{{\n(.*?)^{indent}\}},", text, re.S | re.M):
            inner = re.search(r"(\w+)ToHclTerraform", body)
            inner = inner[1] if inner and inner[1] in written else None
            has[name] = nested(written[inner], " " * 8, inner) if inner else True
        return {"requires": [name for name in required(interface) if name in has], "has": has}

    top = re.search(r"synthesizeHclAttributes\(\) \{(.*?)\n    \}\n", code, re.S)[1]
    config = re.search(r"export interface (\w+Config) extends", types)[1]
    return nested(top, " " * 12, config)


def main():
    found = list(resources())
    if sys.argv[1:2] == ["--write"]:
        package = pathlib.Path(sys.argv[2])
        names = {kind: schema(package, kind) for kind in sorted({kind for _, kind, _ in found})}
        NAMES.write_text(json.dumps(names, indent=1, sort_keys=True) + "\n")
        return
    names = json.loads(NAMES.read_text())
    problems = []
    for file, kind, body in found:
        place = f"{file.relative_to(HERE.parent)}: {kind}"
        problems += list(wrong(place, body, names[kind])) if kind in names else [f"{place}: google.json does not have it"]
    if problems or not found:
        sys.exit("\n".join(problems) or "modules/gcp has no resource")
    print(f"{len(found)} resources of modules/gcp have names of the provider; nothing was planned")


main()
