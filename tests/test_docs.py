"""Every code block of the documentation runs, page by page."""

import pathlib
import re
import subprocess
import sys

import pytest

DOCS = pathlib.Path(__file__).parents[1] / "docs"
PAGES = {
    page: "\n".join(blocks)
    for page in sorted([*DOCS.glob("*.md"), *DOCS.glob("papers/*.md")])
    if (blocks := re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_of_the_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # What a phone would have measured, on the page about phones.
    (tmp_path / "phone.txt").write_text("dense 120\nsparse 40\n" * 3)
    names = {"__name__": page.stem}
    exec(compile(PAGES[page], str(page), "exec"), names)


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "api" / "core.html").stat().st_size > 10000
    sections = re.findall(
        'id="([^"]+)"', (tmp_path / "benchmarks.html").read_text()
    )
    for page in tmp_path.glob("papers/*.html"):
        named = re.findall(r'benchmarks\.html#([^"]+)"', page.read_text())
        assert set(named) <= set(sections), page
