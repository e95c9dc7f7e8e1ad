"""The README's Python runs as it stands, in one session from top to bottom."""

import re
from pathlib import Path

import torch

README = Path(__file__).parents[2] / "README.md"


def test_the_python_blocks_run():
    torch.manual_seed(0)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    session: dict = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), session)
    data, samples = session["x"], session["samples"]
    assert samples.shape == (500, 2)
    # Trained or not must make a difference: the data are four times as wide in one direction as in the other.
    assert data.std(0)[0] / data.std(0)[1] > 3.5
    assert samples.std(0)[0] / samples.std(0)[1] > 2


def test_the_first_block_has_ten_lines():
    first = re.search(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert first is not None
    assert len([line for line in first[1].splitlines() if line.strip()]) <= 10
