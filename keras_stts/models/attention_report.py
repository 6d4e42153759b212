"""Which kernel runs attention in which layers of a model."""

HEAD = ("layers", "what", "kernel", "rows", "queries x keys", "run as", "")


class AttentionReport(list):
    """Rows of layers that run attention alike: printed, they are a table.

    A list of dicts, of
    - `"part"`: `"vision_encoder"`, `"scorer"`, `"connector"` or
      `"language_model"`,
    - `"kind"`: str, what attends: all patches of a frame (`"frames"`), with
      scores as bias of the keys (`"frames, score bias"`), kept ones
      (`"packed"`), all to the kept ones (`"refilled"`), fewer at each block
      (`"merged"`), those of a crop (`"images"`), the mean of a block to its
      patches (`"pooling"`), the vision part (`"prefix"`), the text after it
      (`"text"`) or one token more (`"decode"`),
    - `"layers"`: list of str, paths of the layers,
    - `"runs"`: list of the `keras_stts.kernels.notes.Run` of each of these
      layers, several if frames are run in groups,
    - `"kernel"`: str, what runs them, of `keras_stts.config.ATTENTION`, or
      `"elementwise"`: a product and a sum, of a query for each block,
    - `"reason"`: str, why not the kernel that was chosen, or `None`.

    Args:
        rows: Those dicts.
        facts: Dict of what was asked for.

    Attributes:
        facts: The same.
    """

    def __init__(self, rows, facts):
        super().__init__(rows)
        self.facts = dict(facts)

    def __str__(self):
        head = ", ".join(f"{n}={v}" for n, v in self.facts.items())
        runs = [run for row in self for run in row["runs"]]
        reasons = list(dict.fromkeys(run.reason for run in runs if run.reason))
        rows = [HEAD]
        for row in self:
            first = (_names(row["layers"]), row["kind"])
            for run in _alike(row["runs"]):
                mark = run.reason and f"[{reasons.index(run.reason) + 1}]"
                rows.append((*first, *_cells(run), mark or ""))
                first = ("", "")
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip()
            for row in rows
        ]
        lines += [f"[{i}] {text}" for i, text in enumerate(reasons, 1)]
        return "\n".join([head, *lines])


def _alike(runs):
    """Groups of frames that differ in their number alone are one."""
    found = {}
    for run in runs:
        key = run._replace(rows=0)
        found[key] = found.get(key, 0) + run.rows
    return [run._replace(rows=rows) for run, rows in found.items()]


def _cells(run):
    size = f"{run.queries:,} x {run.keys:,}"
    run_as = f"{run.run_queries // run.pieces:,} x {run.run_keys:,}"
    if run.pieces > 1:
        run_as = f"{run.pieces} x {run_as}"
    return run.kernel, f"{run.rows:,}", size, "" if run_as == size else run_as


def _names(layers):
    first, last = layers[0], layers[-1]
    return first if first == last else f"{first} to {last.split('_')[-1]}"
