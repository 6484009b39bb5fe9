"""The verdicts of `check_parity` on ports whose right verdict is known: a confusion table.

    python -m tests.verdicts [--only NAME] [--right | --wrong] [--sample N] [--list] [--json FILE]

A port is right, or it has a fault: where it differs, and the convention that is the cause, if the
catalogue has it. What is judged is the verdict, and nothing else of the report.
"""
