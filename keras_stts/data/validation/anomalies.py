"""The anomalies that validation finds, in one list."""

import collections

from keras_stts.data.validation import copies

Anomaly = collections.namedtuple(
    "Anomaly", ["table", "feature", "kind", "description", "cases"]
)
Anomaly.__doc__ = """An anomaly that `keras_stts.data.validate` found.

Attributes:
    table: Str. Path of the manifest with the anomaly.
    feature: Str. The feature concerned; `"video"` for the files themselves.
    kind: Str. `"drift"` (of a number), `"skew"` (of words), `"unreadable"`,
        `"duplicate_row"`, `"duplicate_video"`, `"duplicate_look"`,
        `"leaked_video"`, `"leaked_look"`, or the type of an anomaly of
        TensorFlow Data Validation in lower case.
    description: Str. The anomaly in a sentence.
    cases: List of (str, str): the id of each row or the path of each video
        concerned, if known, and a note: the error, or the video of which it
        is a copy.

Example:
```python
anomaly = keras_stts.data.Anomaly(
    table="train.jsonl",
    feature="video",
    kind="unreadable",
    description="Videos that cannot be read (1): clips/3.mp4.",
    cases=[("clips/3.mp4", "is empty (0 bytes)")],
)
[video for video, reason in anomaly.cases]  # ["clips/3.mp4"]
```
"""
OWN_KINDS = {
    "unreadable": "Videos that cannot be read",
    "duplicate_video": "Videos that are the same file as another",
    "duplicate_look": "Videos that look the same as another",
    "duplicate_row": "Rows that repeat another one",
    "leaked_video": "Videos that the first table has, too",
    "leaked_look": "Videos that look the same as one of the first table",
}


def own_anomalies(tables):
    """Anomalies that TensorFlow Data Validation does not look for."""
    videos = list(map(copies.contents, tables))
    found, looks = [], []
    for table, its_videos in zip(tables, videos):
        equal, alike, its_looks = copies.within(its_videos)
        looks.append(its_looks)
        again = [(row, "") for row in copies.rows(table)]
        found += [
            (table, "video", "unreadable", _unreadable(table)),
            (table, "video", "duplicate_video", equal),
            (table, "video", "duplicate_look", alike),
            (table, "row", "duplicate_row", again),
        ]
    if len(tables) == 2:
        equal, alike = copies.between(videos[1], videos[0], looks[0])
        found += [
            (tables[1], "video", "leaked_video", equal),
            (tables[1], "video", "leaked_look", alike),
        ]
    return [
        Anomaly(table.name, feature, kind, _describe(kind, those), those)
        for table, feature, kind, those in found
        if those
    ]


def _unreadable(table):
    errors = {
        str(row["video"] or row["id"]): facts["error"]
        for row, facts in zip(table.rows, table.facts)
        if "error" in facts
    }
    return list(errors.items())


def _describe(kind, pairs):
    named = [f"{a} ({b})" if b else a for a, b in pairs[:3]]
    if len(pairs) > 3:
        named.append(f"and {len(pairs) - 3} more")
    return f"{OWN_KINDS[kind]} ({len(pairs)}): {', '.join(named)}."


def tfdv_anomaly(found, tables):
    """An anomaly of TensorFlow Data Validation, with its rows if known."""
    (table,) = [t for t in tables if t.name == found["table"]]
    rows, text = [], found["description"]
    if found["kind"] in ("drift", "skew"):
        names = f"{tables[0].name} and {tables[1].name}"
        text = text.replace("current and previous", names)
        text = text.replace("training and serving", names)
    if found["kind"] == "feature_type_low_fraction_present":
        rows = table.lacking(found["feature"])
        text += f". Rows without: {', '.join(rows[:5])}"
        text += ", and others." if len(rows) > 5 else "."
    pairs = [(row, "") for row in rows]
    return Anomaly(table.name, found["feature"], found["kind"], text, pairs)
