"""`python -m deployments.store.sql [NAME …]`: print statements as they are sent; without a name,
list all names with their parameters."""

import sys

from deployments.store.sql import statements


def main(names: list[str]) -> int:
    known = statements()
    if not names:
        for name, statement in sorted(known.items()):
            print(f"{name}({', '.join((*statement.parameters, *statement.literals))})")
        return 0
    for name in names:
        if name not in known:
            print(f"no SQL file has a statement {name!r}", file=sys.stderr)
            return 1
        statement = known[name]
        for number, parameter in enumerate(statement.parameters, 1):
            print(f"-- ${number} {parameter}")
        print(f"{statement.text};")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
