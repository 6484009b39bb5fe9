from __future__ import annotations

import builtins
import csv
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_folder import arrays, empty_folder, filled_folder, record, small_settings

from compare.errors import MissingDependencyError, RunFolderError
from compare.report.pages import write
from compare.study.records import RunFolder

FILES = ("report.html", "report.md", "report.json", "results.csv", "pairs.csv")


class Page(HTMLParser):
    """Tags of a page with their attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, name: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(name)) is not None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    made = filled_folder(
        tmp_path_factory.mktemp("study") / "run",
        small_settings(seeds=2),
        diverged=[("mlp", "torch", 1)],
    )
    write(made)
    return made


@pytest.fixture(scope="module")
def html(folder: RunFolder) -> str:
    return (folder.path / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def markdown(folder: RunFolder) -> str:
    return (folder.path / "report.md").read_text(encoding="utf-8")


def one_run(path: Path, **settings: Any) -> RunFolder:
    small = {"variants": ("mlp",), "frameworks": ("torch",), "epochs": 2}
    return filled_folder(path, small_settings(**{**small, **settings}))


def test_writes_every_file_and_leaves_no_temporary_one(folder: RunFolder) -> None:
    names = {file.name for file in folder.path.iterdir()}
    assert {*FILES, "figures"} <= names
    figures = {file.name for file in (folder.path / "figures").iterdir()}
    stems = ["circles", "epochs-to-target", "parity", "seconds-per-epoch"]
    for variant in ("mlp", "mlp-bn-after"):
        kinds = ("learning-curves", "differences", "decision-boundary")
        stems += [f"{kind}-{variant}" for kind in kinds]
    assert figures == {f"{stem}.{ending}" for stem in stems for ending in ("png", "svg", "csv")}
    assert not [name for name in names | figures if name.endswith(".tmp")]


def test_the_same_records_give_the_same_bytes(folder: RunFolder, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder.path, copy)
    shutil.rmtree(copy / "figures")
    for name in FILES:
        (copy / name).unlink()
    lines = (copy / "records.jsonl").read_text().splitlines(keepends=True)
    (copy / "records.jsonl").write_text("".join(reversed(lines)))
    write(RunFolder.open(copy))
    files = [*(folder.path / name for name in FILES), *(folder.path / "figures").iterdir()]
    assert len(files) == 5 + 10 * 3
    for file in files:
        assert file.read_bytes() == (copy / file.relative_to(folder.path)).read_bytes(), file.name


def test_results_have_one_line_per_run(folder: RunFolder) -> None:
    with (folder.path / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 8
    first, lost = lines[0], lines[3]
    assert (first["variant"], first["framework"], first["seed"]) == ("mlp", "keras", "0")
    expected = next(r for r in folder.records() if (r["framework"], r["seed"]) == ("keras", 0))
    assert float(first["test_accuracy"]) == expected["final"]["test_accuracy"]
    assert first["epoch_seconds_median"] == "0.25"
    assert (lost["framework"], lost["seed"], lost["status"]) == ("torch", "1", "diverged")
    assert lost["test_accuracy"] == lost["epochs_to_target"] == ""


def test_the_first_screen_says_what_was_compared(html: str, markdown: str) -> None:
    for page, table, hardware in (
        (html, page_at(html, '<table class="results">'), page_at(html, "Hardware:")),
        (markdown, page_at(markdown, "| variant |"), page_at(markdown, "Hardware:")),
    ):
        summary = page_at(page, "in Keras and in Lightning: 2 seeds, 6 epochs, float32, alignment")
        assert summary < table < hardware < page_at(page, "tutorial", after=hardware)
    assert "4 cores, 8 GiB of memory, cpu" in html
    assert "keras 3.1.4, torch 2.7.1" in html
    assert "ray" not in markdown.split("Versions:")[1].splitlines()[0]


def page_at(page: str, text: str, after: int = 0) -> int:
    place = page.find(text, after)
    assert place >= 0, text
    return place


def test_both_pages_show_the_numbers_of_the_json_file(
    folder: RunFolder, html: str, markdown: str
) -> None:
    content = json.loads((folder.path / "report.json").read_text(encoding="utf-8"))
    assert len(content["pairs"]) == 8
    assert content["pairs"][0]["verdict"] == "refused"
    for page in (html, markdown):
        for row in content["rows"]:
            assert f"{row['test_accuracy_mean']:.3f}" in page
        for pair in content["pairs"]:
            assert pair["verdict"] in page
            assert pair["reason"] in page
        for answer in content["answers"].values():
            assert answer in page


def test_diverged_runs_are_counted_named_and_not_averaged(
    folder: RunFolder, html: str, markdown: str
) -> None:
    fine = next(r for r in folder.records() if (r["framework"], r["seed"]) == ("torch", 0))
    accuracy = f"{fine['final']['test_accuracy']:.3f}"
    assert f"| {accuracy} (1 of 2 diverged) |" in markdown
    assert f"<td>{accuracy}\n(1 of 2 diverged)</td>" in html
    for page in (html, markdown):
        assert "left out of means and medians: mlp Lightning (seed 1)." in page


def test_what_comes_from_outside_is_escaped(html: str, markdown: str) -> None:
    assert "Model &lt;X&gt; | 1" in html
    assert r"Model \<X\> \| 1" in markdown


def test_markdown_tables_keep_their_columns(markdown: str) -> None:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    table = lines[:4]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {11}


def test_markdown_images_exist(folder: RunFolder, markdown: str) -> None:
    images = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", markdown)
    assert len(images) == 10
    for alt, link in images:
        assert alt
        assert (folder.path / link).is_file()


def test_html_fetches_nothing_and_runs_its_own_script_alone(html: str) -> None:
    page = Page(html)
    assert not {"link", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [{}]
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|WebSocket", html)
    links = page.all("src") + page.all("href") + page.all("xlink:href")
    assert links
    assert [link for link in links if not link.startswith(("#", "data:image/png;"))] == []
    bare = re.sub(r'xmlns(:xlink)?="[^"]*"', "", html)
    assert not re.search(r"https?://|@import|url\((?!#)", bare)


def test_every_figure_has_a_text_and_every_id_is_its_own(html: str) -> None:
    page = Page(html)
    figures = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(figures) == 10
    assert all(attrs.get("role") == "img" for attrs in figures)
    titles = dict(re.findall(r'<title id="([^"]+)">([^<]+)</title>', html))
    assert len({titles[str(attrs["aria-labelledby"])] for attrs in figures}) == 10
    ids = page.all("id")
    assert len(set(ids)) == len(ids)
    inside = [link[1:] for link in page.all("href") + page.all("xlink:href") if link[0] == "#"]
    clips = re.findall(r"url\(#([^)]+)\)", html)
    assert clips
    assert set(inside + clips) <= set(ids)


def test_figures_take_the_colours_of_the_page(html: str) -> None:
    assert "prefers-color-scheme: dark" in html
    body = html[html.index("<body>") :]
    used = set(re.findall(r"var\(--(\w+)\)", body))
    assert used == {"ink", "paper", "keras", "torch"}
    assert all(html.count(f"--{name}:") >= 2 for name in used)


def test_the_page_does_not_grow_with_the_seeds(tmp_path: Path) -> None:
    sizes = []
    for seeds in (3, 30):
        folder = one_run(tmp_path / str(seeds), seeds=seeds, frameworks=("keras", "torch"))
        write(folder)
        sizes.append((folder.path / "report.html").stat().st_size)
    assert sizes[1] < 1.1 * sizes[0]
    assert sizes[1] < 400_000


def test_one_framework_alone_gives_a_one_sided_report(tmp_path: Path) -> None:
    folder = one_run(tmp_path / "run")
    write(folder)
    text = (folder.path / "report.md").read_text(encoding="utf-8")
    assert "trained in Lightning alone: 1 seed, 2 epochs" in text
    assert "| mlp | – |" in text
    assert "Note:" not in text
    assert "Largest difference" not in text


def test_runs_that_are_missing_are_named(tmp_path: Path) -> None:
    settings = small_settings(seeds=2, variants=("mlp",), epochs=2)
    folder = empty_folder(tmp_path / "run", settings)
    for framework, seed in (("keras", 0), ("keras", 1), ("torch", 1)):
        folder.append(record(settings, "mlp", framework, seed), arrays(settings, framework, seed))
    write(folder)
    for name in ("report.md", "report.html"):
        text = (folder.path / name).read_text(encoding="utf-8")
        assert "Missing runs: mlp Lightning (seed 0)." in text
        assert "seed 1." in text[text.index("Decision boundary") :]


def test_many_missing_runs_are_named_in_short(tmp_path: Path) -> None:
    settings = small_settings(seeds=300, variants=("mlp",), epochs=2, frameworks=("torch",))
    folder = empty_folder(tmp_path / "run", settings)
    folder.append(record(settings, "mlp", "torch", 7), arrays(settings, "torch", 7))
    write(folder)
    text = (folder.path / "report.md").read_text(encoding="utf-8")
    assert "Missing runs: mlp Lightning (seeds 0–6, 8–299)." in text


def test_a_study_that_only_diverged_is_reported(tmp_path: Path) -> None:
    settings = small_settings(variants=("mlp",), frameworks=("keras",), epochs=2)
    folder = filled_folder(tmp_path / "run", settings, diverged=[("mlp", "keras", 0)])
    write(folder)
    assert "1 of 1 diverged" in (folder.path / "report.html").read_text(encoding="utf-8")


def test_a_sparse_manifest_is_enough(tmp_path: Path) -> None:
    folder = one_run(tmp_path / "run")
    kept = {k: folder.manifest[k] for k in ("settings", "data_digest")}
    write(RunFolder(folder.path, kept))
    assert "Versions: not recorded" in (folder.path / "report.md").read_text(encoding="utf-8")


def test_no_finished_run_is_refused(tmp_path: Path) -> None:
    folder = empty_folder(tmp_path / "run", small_settings())
    with pytest.raises(RunFolderError, match="no finished run"):
        write(folder)


def test_other_data_are_refused(tmp_path: Path) -> None:
    folder = one_run(tmp_path / "run")
    manifest = json.loads((folder.path / "manifest.json").read_text())
    manifest["data_digest"] = "0" * 64
    (folder.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunFolderError, match=f"expected data_digest {'0' * 64}"):
        write(RunFolder.open(folder.path))
    assert not (folder.path / "report.html").exists()


@pytest.mark.parametrize("frameworks", [("torch",), ("keras", "torch")])
def test_a_truncated_file_of_arrays_is_refused(tmp_path: Path, frameworks: tuple[str]) -> None:
    folder = one_run(tmp_path / "run", frameworks=frameworks)
    file = folder.path / "weights" / "mlp-torch-0.safetensors"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(RunFolderError, match=r"mlp-torch-0\.safetensors"):
        write(folder)
    assert not (folder.path / "report.html").exists()


def test_a_grid_of_another_size_is_refused(tmp_path: Path) -> None:
    settings = small_settings(variants=("mlp",), epochs=2)
    folder = empty_folder(tmp_path / "run", settings)
    content = arrays(settings, "keras", 0)
    content["grid_probability"] = content["grid_probability"][:-1]
    folder.append(record(settings, "mlp", "keras", 0), content)
    with pytest.raises(RunFolderError, match="grid_probability: expected 3721 numbers"):
        write(folder)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    folder = one_run(tmp_path / "run")
    (folder.path / "figures").write_text("in the way")
    with pytest.raises(RunFolderError, match="cannot write the report"):
        write(folder)


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_a_missing_library_names_the_extra(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(module: str, *args: Any, **kwargs: Any) -> Any:
        if module.partition(".")[0] == name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(module, *args, **kwargs)

    folder = one_run(tmp_path / "run")
    monkeypatch.delitem(sys.modules, "compare.report.pictures", raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(
        MissingDependencyError, match=rf"{name}.*pip install 'bn-compare\[report\]'"
    ):
        write(folder)
