"""The report as files: complete, self-contained, small, and unharmed by whatever names it has to show."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from byol_a.errors import ByolaError
from downstream.published import PublishedScore
from downstream.report import write_report
from downstream.report.markdown import code, plain
from downstream.report.markup import Html, packed, tag
from downstream.results import Cell, read_cell
from tests.downstream.report.cells import LOGMEL, MODEL, OTHER, RANDOM, fake_task, write_fake_cell

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--",
    '"onload="x',
    "a|b`c*d_",
    "\udce9\udcff",
    "{{title}}",
    "x\ny\u2028",
]


class Elements(HTMLParser):
    """Every element's name and attributes, and what stands in scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.mismatched: list[str] = []
        self.feed(text)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((name, dict(attributes)))
        if name not in ("meta", "link", "input", "br", "hr", "img", "wbr"):
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        if not self.open or self.open.pop() != name:
            self.mismatched.append(name)


def unpacked(page: str) -> list[Any]:
    found = re.findall(r'<script type="application/gzip" class="data">([^<]*)</script>', page)
    return [json.loads(gzip.decompress(base64.b64decode(text))) for text in found]


def evaluated(out: Path, **values: Any) -> list[Cell]:
    task = fake_task(**values)
    return [
        write_fake_cell(out, task, one, skill, map_points=400) for one, skill in ((MODEL, 3), (RANDOM, 1), (LOGMEL, 0))
    ]


def test_the_report_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    written = write_report(tmp_path, evaluated(tmp_path), [], title="Encoders", progress=False)
    assert [path.name for path in written] == ["report.html", "report.md"]
    page = written[0].read_text(encoding="utf-8")
    elements = Elements(page)
    assert not elements.mismatched and not elements.open
    for name, attributes in elements.found:
        for key in ("src", "href", "data", "poster", "action"):
            address = attributes.get(key) or ""
            assert name == "a" or address.startswith(("data:", "#")) or not address, (name, address)
    assert "@import" not in page and "url(" not in page
    policy = next(a["content"] for n, a in elements.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")


def test_the_page_has_headers_captions_and_names(tmp_path: Path) -> None:
    page = write_report(tmp_path, evaluated(tmp_path), [], title="Encoders", progress=False)[0].read_text()
    elements = Elements(page).found
    heads = [attributes for name, attributes in elements if name == "th"]
    assert heads and all(attributes.get("scope") in ("col", "row", "rowgroup") for attributes in heads)
    assert all(
        "aria-label" in attributes for name, attributes in elements if attributes.get("role") in ("img", "region")
    )
    assert page.count("<table") == page.count("<caption") + page.count('class="slim"')


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    title = HOSTILE[0] + HOSTILE[5]
    paths = [f"/data/{HOSTILE[index % len(HOSTILE)]}/{index}.wav" for index in range(400)]
    safe = [path.encode("utf-8", "backslashreplace").decode() for path in paths]
    classes = [name.encode("utf-8", "backslashreplace").decode() for name in HOSTILE]
    task = fake_task("evil", title=title, label=HOSTILE[2], classes=classes, warnings=HOSTILE[:3], split=HOSTILE[1])
    hostile = MODEL | {"title": HOSTILE[0], "model": HOSTILE[4]}
    cells = [write_fake_cell(tmp_path, task, one, 1, paths=safe, map_points=400) for one in (hostile, LOGMEL)]
    html, markdown = write_report(tmp_path, cells, [], title=title, progress=False)
    page = html.read_text(encoding="utf-8")
    elements = Elements(page)
    assert not elements.mismatched and not elements.open
    assert "alert(1)</script>" not in page
    assert sum(name == "script" for name, _ in elements.found) == 3  # the task's data, the audio and ours
    assert all("onload" not in attributes for _, attributes in elements.found)
    (data,) = unpacked(page)
    assert data["classes"][0] == HOSTILE[0] and len(data["classes"]) == len(HOSTILE)
    rows = [line for line in markdown.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    table = [re.sub(r"\\.", "", row).count("|") for row in rows]
    assert min(table) >= 3
    assert "<script>" not in re.sub(r"\\<", "", markdown.read_text(encoding="utf-8"))


def test_map_and_details_can_be_read_back(tmp_path: Path) -> None:
    cells = evaluated(tmp_path)
    (data,) = unpacked(write_report(tmp_path, cells, [], title="Encoders", progress=False)[0].read_text())
    assert [one["entry"] for one in data["map"]["maps"]] == ["byola-2022", "random weights", "log-mel statistics"]
    drawn, kept = data["map"], cells[0].map
    assert kept is not None
    one = drawn["maps"][0]
    places = np.frombuffer(base64.b64decode(one["places"]), "<u2").reshape(-1, 2) / 65535.0
    files = np.frombuffer(base64.b64decode(one["files"]), "<u4")
    labels = np.frombuffer(base64.b64decode(one["labels"]), "<u2")
    assert [drawn["root"] + drawn["files"][number] for number in files] == kept.paths.tolist()
    assert [drawn["classes"][number] for number in labels] == kept.labels.tolist()
    extent = (kept.points.max(axis=0) - kept.points.min(axis=0)).max()
    np.testing.assert_allclose(np.diff(places, axis=0), np.diff(kept.points, axis=0) / extent, atol=1e-4)
    assert [result["title"].split(" · ")[-1] for result in data["results"]] == ["logistic"] * 3 + ["knn10"] * 3
    first = data["results"][0]
    assert len(first["hardest"]) == 12 and first["clips"] == 400


def test_audio_goes_in_where_it_can_be_read(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    import soundfile

    paths = [str(write_wav(tmp_path / f"{index}.wav", seconds=0.3, seed=index)) for index in range(30)]
    task = fake_task(n_classes=3, clips=40, tested=40)
    missing = [str(tmp_path / f"missing-{index}.wav") for index in range(10)]
    cells = [write_fake_cell(tmp_path, task, MODEL, 0, paths=paths + missing)]
    page = write_report(tmp_path, cells, [], title="Encoders", progress=False)[0].read_text()
    sounds = json.loads(re.search(r'id="audio">(.*?)</script>', page)[1])  # type: ignore[index]
    (data,) = unpacked(page)
    heard = [clip for clip in data["clips"] if clip["audio"] >= 0]
    assert len(sounds) == len(heard) == len({clip["audio"] for clip in heard}) > 0
    assert all(clip["name"].startswith("missing") for clip in data["clips"] if clip["audio"] < 0)
    (tmp_path / "back.mp3").write_bytes(base64.b64decode(sounds[0].partition(",")[2]))
    wave, rate = soundfile.read(tmp_path / "back.mp3")
    assert rate == 16000 and 0.3 <= len(wave) / rate < 0.45 and 0.5 < np.abs(wave).max() <= 1.1


def test_sizes_are_kept(tmp_path: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(write_wav(tmp_path / f"{index}.wav", seconds=0.5, seed=index)) for index in range(40)]
    paths += [f"/data/{'long-name' * 10}/{index}.wav" for index in range(5000)]
    task = fake_task(clips=5040, tested=5040)
    cells = [write_fake_cell(tmp_path, task, one, 0, paths=paths, map_points=5040) for one in (MODEL, OTHER)]
    monkeypatch.setattr("downstream.report.write.AUDIO_BYTES", 20_000)
    monkeypatch.setattr("downstream.report.write.DATA_BYTES", 60_000)
    page = write_report(tmp_path, cells, [], title="Encoders", progress=False)[0].read_text()
    (data,) = unpacked(page)
    assert 500 <= len(data["map"]["files"]) < 5040
    assert len(packed(data)) <= 60_000
    shown = [set(np.frombuffer(base64.b64decode(one["files"]), "<u4").tolist()) for one in data["map"]["maps"]]
    assert shown[0] == shown[1]  # the same clips on every map
    assert len(re.search(r'id="audio">(.*?)</script>', page)[1]) < 21_000  # type: ignore[index]


def test_curves_are_drawn_and_their_points_have_no_details(tmp_path: Path) -> None:
    points = [("logistic", {"shots": k}, -1 / k) for k in (20, 5, 1)]
    cells = [
        *(write_fake_cell(tmp_path, fake_task(), one, 2.0) for one in (MODEL, LOGMEL)),
        *(
            write_fake_cell(tmp_path, fake_task(), one, 2.0, protocol="few-shot", results=points)
            for one in (MODEL, LOGMEL)
        ),
    ]
    page = write_report(tmp_path, cells, [], title="Encoders", progress=False)[0].read_text()
    assert page.count('class="curve"') == 1 and page.count("<polyline") >= 2
    (data,) = unpacked(page)
    assert not any("shots" in result["title"] for result in data["results"])
    only = write_report(tmp_path / "only", cells[2:], [], title="Encoders", progress=False)[0].read_text()
    assert len(unpacked(only)[0]["results"]) == 6


def test_scores_that_do_not_exist_are_dashes(tmp_path: Path) -> None:
    cell = write_fake_cell(tmp_path, fake_task(), MODEL, 1.0)
    for result in cell.about["results"]:
        for score in result["metrics"].values():
            score.update(value=None, low=None, high=None, fold_scores=[None] * 5)
    written = write_report(tmp_path, [cell], [], title="Encoders", progress=False)
    assert "nan" not in written[1].read_text().lower() and "| – |" in written[1].read_text()


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(ByolaError, match="nothing to report"):
        write_report(tmp_path, [], [], title="Encoders")


def test_markup_escapes_all_but_itself() -> None:
    assert tag("a", "<b>", Html("<i>"), class_='"x"', aria_label=None, hidden=True) == (
        '<a class="&quot;x&quot;" hidden>&lt;b&gt;<i></a>'
    )


def test_markdown_escapes() -> None:
    assert plain("a|b *c* [d](e) <f> `g`\nh") == r"a\|b \*c\* \[d\](e) \<f\> \`g\`\\nh"
    assert code("a\n```\nb").startswith("````") or "\\n" in code("a\n```\nb")


def test_published_means_stand_under_their_own_protocol_only(tmp_path: Path) -> None:
    mean = PublishedScore(
        model="M2D",
        task="mean",
        protocol="evar",
        metric="accuracy",
        value=0.802,
        dim=None,
        source="arXiv 2404.06095",
        mean_over=("esc50", "gtzan"),
    )
    cells = []
    for name, domain in (("esc10", "environment"), ("fsdd", "speech")):
        for protocol in ("default", "evar"):
            cells.append(write_fake_cell(tmp_path, fake_task(name, domain=domain), MODEL, 2.0, protocol=protocol))
    written = write_report(tmp_path, cells, [mean], title="Encoders", progress=False)
    page = written[0].read_text()
    boards = {part.partition('"')[0]: part for part in page.split('data-board="')[1:]}
    assert "80.2" in boards["evar|logistic"] and "arXiv 2404.06095" in boards["evar|logistic"]
    assert "mean over 2 tasks (esc50, gtzan), not those above" in boards["evar|logistic"]
    assert "mean over 2 tasks (esc50, gtzan)" in written[1].read_text()
    assert "arXiv 2404.06095" not in boards["default|logistic"]


@pytest.mark.parametrize("name", ["predictions.npz", "map.npz"])
def test_damage_costs_a_cells_details_only(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    cells = evaluated(tmp_path)
    damaged = cells[0].folder / name
    damaged.write_bytes(damaged.read_bytes()[:-2000])
    html, markdown = write_report(
        tmp_path, [read_cell(cell.folder) for cell in cells], [], title="Encoders", progress=False
    )
    page = html.read_text()
    (data,) = unpacked(page)
    held = [result["title"].split(" · ")[0] for result in data["results"]]
    assert ("byola-2022" in held) == (name == "map.npz")
    assert [one["entry"] for one in data["map"]["maps"]] == ["random weights", "log-mel statistics"]
    assert "byola-2022" in page.partition("<script")[0]  # its scores stay
    for told in (page, markdown.read_text().replace("\\", ""), capsys.readouterr().err):
        assert f"{name} is damaged" in told


def test_all_predictions_damaged_leave_the_scores(tmp_path: Path) -> None:
    cells = evaluated(tmp_path)
    for cell in cells:
        (cell.folder / "predictions.npz").write_bytes(b"")
    read = [read_cell(cell.folder) for cell in cells]
    written = write_report(tmp_path, read, [], title="Encoders", damaged=["x/y is damaged"], progress=False)
    page, markdown = (path.read_text() for path in written)
    assert unpacked(page)[0]["results"] == [] and "byola-2022" in page
    assert "x/y is damaged" in page and "x/y is damaged" in markdown


def test_marks_are_explained_where_they_stand(tmp_path: Path) -> None:
    task = fake_task("folds", parts={str(fold): 80 for fold in range(5)}, unusable=3, warnings=["part of the set"])
    cells = [write_fake_cell(tmp_path, task, MODEL, 2.0), write_fake_cell(tmp_path, task, OTHER, 2.0)]
    cells += [write_fake_cell(tmp_path, task, RANDOM | {"weight_seed": seed}, 0.5) for seed in (0, 1)]
    cells.append(write_fake_cell(tmp_path, task, LOGMEL, 0.5, changed={"seeds": [7]}))
    theirs = [
        PublishedScore("BYOL-A v1", "folds", "linear", "accuracy", value, dim, "arXiv 2103.06695", "not EVAR")
        for value, dim in ((0.7, 2048), (0.6, 512))
    ]
    texts = [path.read_text() for path in write_report(tmp_path, cells, theirs, title="Encoders", progress=False)]
    legend = texts[1].partition("\n## ")[0]
    for mark in ("**Bold**", "≈", "▲", "±", "†", "‡", "draws"):
        assert mark in legend
    for text in texts:
        assert "mean ± std of 2 draws" in text and "‡ seeds 7" in text and "arXiv 2103.06695; not EVAR" in text
        assert "paired permutation test" in text and "400 tested" in text and "Differences were not tested here" in text
    page, markdown = texts
    assert "3 unusable files" in markdown and "5 folds of 80" in markdown and "5 folds of 80" in page
    rows = [row for row in markdown.splitlines() if "not EVAR" in row]
    assert ["| 2048 |" in row for row in rows] == [True, False] and ["| 512 |" in row for row in rows] == [False, True]
    assert "dim 2,048; arXiv" in page and "dim 512; arXiv" in page


def test_details_open_on_the_best_row(tmp_path: Path) -> None:
    skills = ((MODEL, 1.0), (OTHER, 3.0), (LOGMEL, 2.0))
    cells = [write_fake_cell(tmp_path, fake_task(), one, skill) for one, skill in skills]
    (data,) = unpacked(write_report(tmp_path, cells, [], title="Encoders", progress=False)[0].read_text())
    names = [result["title"].split(" · ")[0] for result in data["results"]]
    assert names[:3] == ["byola-2020", "log-mel statistics", "byola-2022"]


def test_means_that_repeat_one_task_are_left_out(tmp_path: Path) -> None:
    def means(*tasks: dict[str, Any]) -> list[str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        cells = [write_fake_cell(folder, task, MODEL, 2.0, results=[("logistic", {}, 0.0)]) for task in tasks]
        page = write_report(folder, cells, [], title="Encoders", progress=False)[0].read_text()
        found = re.search(r"<b>Means over tasks</b>.*?</thead>", page)
        return re.findall(r'<th scope="col">([^<]*)<small>', found[0]) if found else []

    speech, music = fake_task("fsdd", domain="speech"), fake_task("nsynth", domain="music")
    assert means(fake_task()) == means(fake_task(clips_digest="a" * 32), fake_task(clips_digest="b" * 32)) == []
    assert means(speech, music) == ["All tasks"]
    assert means(speech, music, fake_task("gtzan", domain="music")) == ["All tasks", "Music"]
    assert means(music, fake_task("gtzan", domain="music")) == ["Music"]
