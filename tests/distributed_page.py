"""The code of docs/distributed.md, which the scripts beside this run."""

import pathlib
import re

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "distributed.md"


def run(text, **names):
    """Runs the one block with a text in it, and returns all names."""
    blocks = re.findall(r"```\w+\n(.*?)```", PAGE.read_text(), re.S)
    [block] = [block for block in blocks if text in block]
    exec(compile(block, str(PAGE), "exec"), names)
    return names
