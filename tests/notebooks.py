"""The notebooks of examples/notebooks: scripts in percent format, executed.

    python -m tests.notebooks [--text] [names]

runs the scripts as notebooks and writes what they show beside them. `--text`
only takes over their words, where no code has changed.
"""

import base64
import io
import os
import pathlib
import re
import sys
import tempfile

import jupytext
import nbclient
import nbformat
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "notebooks"
SECONDS = 1800  # For a cell.
# What other libraries say of themselves as they are imported.
NOISE = re.compile(r"absl::|oneDNN|cudart_stub|IProgress|notebook_tqdm")


def names():
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def read(name):
    """A script as a notebook that was not run."""
    notebook = jupytext.read(FOLDER / f"{name}.py", fmt="py:percent")
    kernel = {"display_name": "Python 3", "name": "python3"}
    notebook.metadata = {"kernelspec": {**kernel, "language": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {}
    return notebook


def stored(name):
    """The executed notebook that is beside its script."""
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    return nbformat.reads(text, as_version=4)


def execute(notebook, folder, **environment):
    """Run a notebook in a folder, in a process of its own.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell raises.
    """
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, **environment}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    client = nbclient.NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment)
    for cell in notebook.cells:
        # Times of running would differ each time.
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = list(filter(None, map(_quiet, cell.outputs)))
            for output in cell.outputs:
                _with_fewer_colors(output.get("data", {}))
                _without_folders(output, folder)
    return notebook


def _without_folders(output, *folders):
    """Where it ran is nobody's matter."""
    for folder in (*folders, ROOT):
        if "text" in output:
            output["text"] = output["text"].replace(f"{folder}/", "")


def _with_fewer_colors(data):
    """A third of the bytes, for noise."""
    if "image/png" in data:
        picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
        file = io.BytesIO()
        picture.convert("RGB").quantize(256).save(file, "PNG", optimize=True)
        data["image/png"] = base64.b64encode(file.getvalue()).decode()


def _quiet(output):
    """An output without other libraries' noise, or None."""
    if output.get("name") != "stderr":
        return output
    lines = output["text"].splitlines(keepends=True)
    output["text"] = "".join(x for x in lines if not NOISE.search(x))
    return output if output["text"].strip() else None


def printed(notebook):
    """All text that the cells of an executed notebook printed."""
    outputs = [
        output for cell in notebook.cells for output in cell.get("outputs", ())
    ]
    return "".join(each.get("text", "") for each in outputs)


def with_new_words(name):
    """The stored notebook with the words of its script."""
    notebook, script = stored(name), read(name)
    for cell, new in zip(notebook.cells, script.cells, strict=True):
        if cell.cell_type == "code" and cell.source != new.source:
            raise ValueError(f"Code of {name} has changed: run it.")
        cell.source = new.source
    return notebook


def main(*chosen):
    only_text = "--text" in chosen
    chosen = [name for name in chosen if name != "--text"]
    for name in chosen or names():
        if only_text:
            notebook = with_new_words(name)
        else:
            with tempfile.TemporaryDirectory() as folder:
                notebook = execute(read(name), folder)
        # Versions are left out; sites colour code by its language.
        notebook.metadata["language_info"] = {"name": "python"}
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")
        print(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
