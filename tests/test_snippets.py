"""Every Python block of the README and the documentation runs as it is printed: alone, elsewhere, and within 20 seconds.

A block fenced as ``python no-run`` is not run: for a piece that needs another machine, or is no whole program.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 20.0
FENCE = re.compile(
    r"^(?P<indent>[ ]*)(?P<ticks>`{3,})(?P<info>[^`\n]*)\n(?P<code>.*?)^(?P=indent)(?P=ticks)[ ]*$",
    re.MULTILINE | re.DOTALL,
)


class Snippet(NamedTuple):
    """One block, and the line of the page its code begins at."""

    page: str
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets(text: str, page: str) -> list[Snippet]:
    found = []
    for fence in FENCE.finditer(text):
        if fence["info"].split() != ["python"]:
            continue
        lines = fence["code"].splitlines(keepends=True)
        code = "".join(line.removeprefix(fence["indent"]) for line in lines)
        found.append(Snippet(page, text.count("\n", 0, fence.start("code")) + 1, code))
    return found


def run(snippet: Snippet, folder: Path, limit: float = LIMIT) -> None:
    """Run it in an interpreter of its own; a traceback shows the line of the page."""
    program = folder / Path(snippet.page).with_suffix(".py").name
    program.write_text("\n" * (snippet.line - 1) + snippet.code, encoding="utf-8")
    with (folder / "output").open("w+b") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(program)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end_session(process)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if code is None:
        pytest.fail(f"{snippet} did not end within {limit:g} s:\n{said}", pytrace=False)
    if code != 0:
        pytest.fail(f"{snippet} ended with {code}:\n{said}", pytrace=False)


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """Whatever the block has started ends with it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if page.exists()]
FOUND = [s for page in PAGES for s in snippets(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT)))]


@pytest.mark.parametrize("number", range(len(FOUND)), ids=[str(snippet) for snippet in FOUND])
def test_snippet(number: int, tmp_path: Path) -> None:
    run(FOUND[number], tmp_path)


# The runner can fail --------------------------------------------------------------------------------------------------

PAGE = """# Title
```python
first = 1
```
```sh
pip install zpatterns
```
```python no-run
raise SystemExit("not run")
```
- an item:
  ```python
  if True:
      second = 2
  ```
````python
text = '''
```
'''
````
"""


def test_blocks_are_found() -> None:
    assert snippets(PAGE, "p.md") == [
        Snippet("p.md", 3, "first = 1\n"),
        Snippet("p.md", 13, "if True:\n    second = 2\n"),
        Snippet("p.md", 17, "text = '''\n```\n'''\n"),
    ]


def test_a_good_block_passes(tmp_path: Path) -> None:
    run(Snippet("README.md", 7, "import os\nassert not os.path.exists('README.md')\n"), tmp_path)


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("assert 1 == 2", r"line 7(?s:.*)AssertionError"),
        ("raise SystemExit(3)", "ended with 3"),
        ("import warnings\nwarnings.warn('old')", "UserWarning: old"),
    ],
)
def test_a_bad_block_fails_with_the_line_of_the_page(code: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match=what):
        run(Snippet("README.md", 7, code), tmp_path)


def test_a_block_that_hangs_fails(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="did not end"):
        run(Snippet("README.md", 7, "import threading\nthreading.Event().wait()"), tmp_path, limit=0.5)
