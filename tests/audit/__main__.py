"""Command line of the audit: `python -m tests.audit NET STATES [--additional FILE]...`."""

import argparse
from collections.abc import Sequence

from . import INFORMATION, audit


def main(argv: Sequence[str] | None = None) -> int:
    """Print every finding, one a line; return 1 if any is a violation, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.audit",
        description="Judge a SaveTLSSwitchStates recording against the programs the net ships.",
    )
    parser.add_argument("net", help="net.xml or net.xml.gz")
    parser.add_argument("states", help="output of SaveTLSSwitchStates")
    parser.add_argument(
        "--additional", action="append", default=[], help="file with further tlLogics"
    )
    arguments = parser.parse_args(argv)
    findings = audit(arguments.net, arguments.states, arguments.additional)
    for finding in findings:
        print(f"{finding.time_s:10.2f}  {finding.tls}  {finding.kind}: {finding.detail}")
    violations = sum(finding.kind not in INFORMATION for finding in findings)
    print(f"{violations} violations, {len(findings) - violations} remarks")
    return 1 if violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
