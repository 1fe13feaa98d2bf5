"""What is installed: every package folder is listed, the version stands in one place, and README's commands are the CI's."""

import re
import tomllib
from pathlib import Path

import pytest

import edgelstm

ROOT = Path(__file__).parent.parent
PROJECT = ROOT / "pyproject.toml"


@pytest.fixture(scope="module")
def project() -> dict:
    if not PROJECT.exists():
        pytest.skip("no pyproject.toml beside the tests")
    return tomllib.loads(PROJECT.read_text())


def test_every_package_folder_is_listed(project):
    found = set()
    for name, folder in project["tool"]["setuptools"]["package-dir"].items():
        for path in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([name, *path.parent.relative_to(ROOT / folder).parts]))
    assert set(project["tool"]["setuptools"]["packages"]) == found


def test_the_changelog_knows_the_version():
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == edgelstm.__version__


def test_extras_hold_what_they_need(project):
    extras = project["project"]["optional-dependencies"]
    assert set(extras["convert"]) <= set(extras["test"])


def test_readme_opens_with_the_two_commands():
    blocks = re.findall(r"^```sh\n(.*?)\n```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert "examples/forecast/forecast.py" in blocks[0]
    assert "pytest" in blocks[1]
    assert all("pip install" in block and "\n" not in block for block in blocks[:2])
