"""The tables of inputs and outputs in each module's README, made from its .tf files.

`tables.py` says which README tells otherwise than the files, `tables.py --write` writes them anew. Needs Python alone.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN = "<!-- Made by terraform/tests/tables.py --write -->"
END = "<!-- End of the tables -->"
BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.M | re.S)


def attribute(body: str, name: str) -> str | None:
    """The text of one attribute of a block, over several lines where brackets are open."""
    lines = body.split("\n")
    for index, line in enumerate(lines):
        found = re.match(rf"  {name}\s+=\s(.*)$", line)
        if found:
            text, depth = found[1], 0
            for more in lines[index + 1 :]:
                depth = sum(text.count(c) for c in "({[") - sum(text.count(c) for c in ")}]")
                if depth <= 0:
                    break
                text += " " + more.strip()
            return re.sub(r"([({\[]) | ([)}\]])", r"\1\2", text)
    return None


def text(quoted: str) -> str:
    return quoted.strip()[1:-1].replace('\\"', '"').replace("|", "\\|")


def tables(module: pathlib.Path) -> str:
    inputs, outputs = [], []
    for file in sorted(module.glob("*.tf")):
        for kind, name, body in BLOCK.findall(file.read_text()):
            described = attribute(body, "description")
            if described is None:
                sys.exit(f"{file}: {kind} {name} has no description")
            if kind == "output":
                outputs.append(f"| `{name}` | {text(described)} |")
                continue
            default = attribute(body, "default")
            kind = re.match(r"[a-z]+(\([a-z]+\))?", attribute(body, "type") or "any")[0]
            if default is not None and len(default) > 60:
                default = "see variables.tf"
            elif default is not None:
                default = f"`{default}`"
            inputs.append(f"| `{name}` | {text(described)} | {kind} | {default or 'required'} |")
    lines = [BEGIN, "", "| input | what | type | default |", "|---|---|---|---|", *inputs]
    lines += ["", "| output | what |", "|---|---|", *outputs, "", END]
    return "\n".join(lines)


def main() -> None:
    stale = []
    for variables in sorted(ROOT.glob("modules/*/*/variables.tf")):
        readme = variables.parent / "README.md"
        said = readme.read_text()
        begin, end = said.find(BEGIN), said.find(END)
        if begin < 0 or end < 0:
            sys.exit(f"{readme} has no place for its tables: {BEGIN} ... {END}")
        true = said[:begin] + tables(variables.parent) + said[end + len(END) :]
        if true == said:
            continue
        if "--write" in sys.argv:
            readme.write_text(true)
        else:
            stale.append(str(readme.relative_to(ROOT)))
    if stale:
        sys.exit("the tables are not what the files say in " + ", ".join(stale) + ": run terraform/tests/tables.py --write")


main()
