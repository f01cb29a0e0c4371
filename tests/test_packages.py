"""What leaves the checkout: the zip for executors, and the wheel. Both hold all of the packages."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from paths import ROOT

PACKAGES = ("jobs", "recsys_core")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what is packed, with a package and a template deeper than any other."""
    copy = tmp_path / "checkout"
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "spark-submit.sh"):
        shutil.copy(ROOT / name, copy)
    deep = copy / "jobs" / "report" / "deep"
    for folder in (deep, deep / "deeper"):
        (folder / "templates").mkdir(parents=True)
        (folder / "templates" / "page.jinja").write_text("text")
        (folder / "__init__.py").touch()
    return copy


def list_sources(checkout: Path) -> set[str]:
    """Every file of the packages, code and templates, but for what Python and numba leave there."""
    files = (path for name in PACKAGES for path in (checkout / name).rglob("*") if path.is_file())
    names = (path.relative_to(checkout).as_posix() for path in files)
    return {name for name in names if "/__pycache__/" not in name}


def list_archive(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as opened:
        return sorted(opened.namelist())


def zip_packages(checkout: Path, venv: Path) -> Path:
    """The archive that ``spark-submit.sh`` gives the executors, made by its own function."""
    (venv / "bin").mkdir(parents=True, exist_ok=True)
    python = venv / "bin" / "python"
    if not python.exists():
        python.symlink_to(sys.executable)
    functions = "sed -n '/^newer_sources/,/^}/p; /^zip_packages/,/^}/p' spark-submit.sh"
    script = f'eval "$({functions})"; root={checkout}; venv={venv}; zip_packages'
    made = subprocess.run(
        ["bash", "-euc", script],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return Path(made.stdout.strip())


def test_the_zip_holds_every_package_with_its_templates_and_nothing_else(checkout: Path) -> None:
    archive = zip_packages(checkout, checkout.parent / "venv")
    assert list_archive(archive) == sorted(list_sources(checkout))


def test_the_zip_is_made_anew_only_when_a_source_comes_goes_or_changes(checkout: Path) -> None:
    venv, deep = checkout.parent / "venv", checkout / "jobs" / "report" / "deep" / "deeper"

    def remake() -> tuple[list[str], int]:
        """What is in the zip, and what file it is; sources of now are new to the next."""
        archive = zip_packages(checkout, venv)
        for path in (*checkout.rglob("*"), archive):
            os.utime(path, (1e9, 1e9))
        return list_archive(archive), archive.stat().st_ino

    before, first = remake()
    assert remake() == (before, first)
    for source in (deep / "__init__.py", deep / "templates" / "page.jinja"):
        source.write_text("# changed")
        last, (_, first) = first, remake()
        assert first != last
    (deep / "templates" / "more.css").touch()
    more, _ = remake()
    assert set(more) - set(before) == {"jobs/report/deep/deeper/templates/more.css"}
    (deep / "__init__.py").unlink()
    less, _ = remake()
    assert set(more) - set(less) == {"jobs/report/deep/deeper/__init__.py"}


IMPORT_ALL = """
import importlib, json, pkgutil, sys
modules, templates = (line.split() for line in sys.stdin)
read = {}
for name in templates:
    folder, _, file = name.partition("/templates/")
    read[name] = pkgutil.get_data(folder.replace("/", "."), "templates/" + file).decode()
print(json.dumps([[importlib.import_module(name).__file__ for name in modules], read]))
"""


def test_all_of_it_is_imported_from_the_zip(tmp_path: Path) -> None:
    archive = zip_packages(ROOT, tmp_path)
    sources = list_sources(ROOT)
    modules = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in sources
        if name.endswith(".py") and not name.endswith("__main__.py")
    }
    templates = {name for name in sources if "/templates/" in name}
    assert "report.html.jinja" in {Path(name).name for name in templates}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        input=f"{' '.join(modules)}\n{' '.join(templates)}\n",
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(archive)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files, texts = json.loads(done.stdout)
    assert [file for file in files if not file.startswith(f"{archive}/")] == []
    assert texts == {name: (ROOT / name).read_text() for name in templates}


def test_the_wheel_holds_every_package_with_its_templates_and_nothing_else(checkout: Path) -> None:
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    wheels = checkout.parent / "wheels"
    subprocess.run(
        [sys.executable, "-c", build, str(wheels)],
        cwd=checkout,
        capture_output=True,
        check=True,
        timeout=120,
    )
    [wheel] = wheels.glob("*.whl")
    packed = [name for name in list_archive(wheel) if ".dist-info/" not in name]
    assert packed == sorted(list_sources(checkout))
