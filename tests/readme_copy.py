"""A copy of the README, with its figures and records, for tests that change it."""

import json
import re
import shutil
from pathlib import Path

from compare.readme.marks import marks

ROOT = Path(__file__).parent.parent


def copied(place):
    """The copy's path."""
    shutil.copyfile(ROOT / "README.md", place / "README.md")
    shutil.copytree(ROOT / "docs", place / "docs")
    return place / "README.md"


def change_json(file, change):
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def change_block(page, name, change):
    """Change the text of a block; it must change."""
    start, end = map(re.escape, marks(name))
    before, block, after = re.split(f"(?<={start})|(?={end})", page.read_text(encoding="utf-8"))
    changed = change(block)
    assert changed != block
    page.write_text(before + changed + after, encoding="utf-8")
