"""The rows of shards, for Grain."""

from keras_stts.data import records
from keras_stts.data.manifest import read_manifest


class ShardSource:
    """The rows of a table with their videos, for Grain.

    It is a sequence that `grain.MapDataset.source` takes: rows can be read in
    any order, and in Grain's processes. `source[i]` is row `i`, a dict whose
    `"video"` is a dict of `"path"` and `"bytes"`, as the preprocessor takes it,
    or a `SampledVideo`.

    Args:
        table: Path or address of a table that `write_shards` made.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If a row does not name a record of a shard.

    Example:
    ```python
    keras_stts.datasets.shapes.generate("clips", "train", 1)
    table = keras_stts.data.write_shards("clips/train.jsonl", "for_grain")
    source = keras_stts.data.ShardSource(table)
    source[0]["video"]["bytes"][4:8]  # b"ftyp"
    ```
    """

    def __init__(self, table):
        self.table = str(table)
        self._rows = read_manifest(table)
        for row in self._rows:
            if records.parse(row["video"]) is None:
                raise ValueError(
                    "A table of shards must name records. Received: row "
                    f"{row['id']} of {self.table!r} with video="
                    f"{str(row['video'])[:300]!r}. Make it with "
                    "`python -m keras_stts.data shard`."
                )

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, index):
        row = self._rows[index]
        place = records.parse(row["video"])
        if place.kind == "frames":
            video = records.read_frames_record(place, None)
            return {**row, "video": video}
        data, name = records.read_video_record(place)
        return {**row, "video": {"path": name, "bytes": data}}

    def __repr__(self):
        return f"ShardSource({self.table!r})"
