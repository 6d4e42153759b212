import json

import pytest

from tests.data.reading_test import write

ROWS = 10  # The third batch of an epoch has two, and two that do not count.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    clip = write(folder / "a.mp4", "-c:v libx264", seconds=2)
    lines = [
        {"video": str(clip), "prompt": f"what {i}?", "response": f"a {i}"}
        for i in range(ROWS)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "table.jsonl").write_text(text)
    return folder
