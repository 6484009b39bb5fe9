"""The records of the clocks and of the cost as the repository keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compare.errors import RunFolderError
from compare.study.records import write_text


def keep(content: Mapping[str, Any], file: Path) -> None:
    """Write records as they were, but for the command, which names folders of a machine.

    Raises:
        RunFolderError: The file cannot be written.
    """
    kept = {name: value for name, value in content.items() if name != "command"}
    try:
        write_text(file, json.dumps(kept, allow_nan=False, indent=1) + "\n")
    except OSError as error:
        raise RunFolderError(f"{file}: cannot keep the records there: {error}") from error
