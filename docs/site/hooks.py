"""What the site adds to the pages in docs/, called by MkDocs as it builds.

Pages link to files of the repository, which have an address on the site, too:
Markdown files and notebooks as pages, pictures and figures as they are, code as
listings.
"""

import os
import pathlib
import posixpath
import re

import nbconvert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/COMPARISON.md": "comparison.md",
}
NOTEBOOKS = "examples/notebooks/"
SHOWN_AS_CODE = {".cff": "yaml", ".py": "python", ".toml": "toml"}
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(?=\))")
LISTING = """---
search:
  exclude: true
---

# `{path}`

```{language}
{code}
```
"""
OF_KERAS = re.compile(r"\.(build|compute_\w+|get_config)$")
PUBLIC = re.compile(r"[\w.]+")


def source_of(page):
    """Path in the repository of a page of the site."""
    sources = {page: source for source, page in PAGES.items()}
    return sources.get(page, f"docs/{page}")


def linked(markdown, source):
    """Paths of files outside of docs/ that a page links to."""
    for match in LINK.finditer(without_code(markdown)):
        path = posixpath.normpath(
            posixpath.join(posixpath.dirname(source), match[2])
        )
        if not path.startswith(("docs/", "..")) and (ROOT / path).is_file():
            yield path


def without_code(markdown):
    return re.sub(r"^```.*?^```", "", markdown, flags=re.S | re.M)


def address(path):
    """Where a file of the repository is on the site."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith(NOTEBOOKS) and path.endswith(".ipynb"):
        return f"notebooks/{pathlib.PurePath(path).stem}.md"
    code = pathlib.PurePath(path).suffix in SHOWN_AS_CODE
    return f"files/{path}.md" if code else f"files/{path}"


def generated(path, config):
    """A file of the repository as one of the site."""
    suffix = pathlib.PurePath(path).suffix
    if suffix not in SHOWN_AS_CODE:
        return File.generated(
            config, address(path), abs_src_path=str(ROOT / path)
        )
    code = (ROOT / path).read_text(encoding="utf-8").rstrip()
    text = LISTING.format(path=path, language=SHOWN_AS_CODE[suffix], code=code)
    return File.generated(config, address(path), content=text)


def notebook(path, config):
    """Pages of an executed notebook: its text and code, and its pictures."""
    exporter = nbconvert.MarkdownExporter()
    text, resources = exporter.from_filename(str(ROOT / path))
    page = address(path)
    folder = posixpath.dirname(page)
    name = pathlib.PurePath(path).stem
    for output, content in resources["outputs"].items():
        text = text.replace(f"({output})", f"({name}_{output})")
        where = posixpath.join(folder, f"{name}_{output}")
        yield File.generated(config, where, content=content)
    yield File.generated(config, page, content=text)


def on_config(config):
    """A page of docs/ without a place of its own comes last in Guides."""
    named = set(PUBLIC_PAGES.findall(str(config.nav)))
    (guides,) = [each["Guides"] for each in config.nav if "Guides" in each]
    guides += sorted(
        path.name
        for path in (ROOT / "docs").glob("*.md")
        if path.name not in named
    )
    return config


PUBLIC_PAGES = re.compile(r"[\w./]+\.md")


def on_files(files, config):
    """Adds the files of the repository that pages link to."""
    for path, page in PAGES.items():
        files.append(
            File.generated(config, page, abs_src_path=str(ROOT / path))
        )
    shown = set(PAGES)
    for path in sorted((ROOT / NOTEBOOKS).glob("*.ipynb")):
        shown.add(path.relative_to(ROOT).as_posix())
        for file in notebook(path.relative_to(ROOT).as_posix(), config):
            files.append(file)
    wanted = set()
    for file in files.documentation_pages():
        wanted |= set(linked(file.content_string, source_of(file.src_uri)))
    for path in sorted(wanted - shown):
        files.append(generated(path, config))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links to files of the repository become links of the site."""
    here = page.file.src_uri
    source = source_of(here)

    def renamed(match):
        path = posixpath.normpath(
            posixpath.join(posixpath.dirname(source), match[2])
        )
        if not (ROOT / path).is_file():
            return match[0]  # MkDocs says that it is not there.
        target = posixpath.relpath(
            address(path), posixpath.dirname(here) or "."
        )
        return f"{match[1]}{target}{match[3] or ''}"

    parts = re.split(r"(^```.*?^```)", markdown, flags=re.S | re.M)
    parts[::2] = [LINK.sub(renamed, part) for part in parts[::2]]
    return "".join(parts)


def shown(name, found):
    """Whether a name is there, or one of those that Keras calls."""
    return name in found or OF_KERAS.search(name)


def on_post_build(config):
    """Every public name must be on a page of the reference."""
    pinned = (ROOT / "tests/public_api.txt").read_text(encoding="utf-8")
    names = {
        PUBLIC.match(line)[0]
        for line in pinned.splitlines()
        if not line.endswith(": module")
    }
    folder = os.path.join(config.site_dir, "reference")
    found = set()
    for path in pathlib.Path(folder).rglob("*.html"):
        found |= set(
            re.findall(r'id="(keras_stts[\w.]*)"', path.read_text("utf-8"))
        )
    missing = sorted(name for name in names if not shown(name, found))
    if missing:
        raise PluginError(f"Not in docs/reference: {missing}")
