"""The page: complete, escaped, self-contained, with a section for everything it is given."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from hf_afro.reports import EvalReport
from hf_afro.reports.page import Stage, Work, figures, render_page, render_tables, write_page
from hf_afro.reports.tables import Cell, Table
from tests.reports.examples import crossed, report, score, three
from tests.reports.test_plots import CURVE

WORK = Work(
    stages=(
        Stage("prune", "The vocabulary was cut.", {"budget": 70_000}, {"parameters": (278_295_186, 140_301_266)}),
        Stage("maft", settings={"learning_rate": 5e-5, "languages": ["swa", "yor"]}),
    ),
    languages=("yor",),
    removed={"swa": {"read": 1_000, "evaluation sentence": 17}},
    curve=CURVE,
    losses={"maft": [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}]},
    provenance={"commit": "0123abc", "corpora": {"swa": {"origin": "swa.txt"}}},
)
EMPTY_ELEMENTS = {"meta", "br", "img", "link"}


class Reader(HTMLParser):
    """Checks that elements are closed in order, and collects text, attributes and names."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.sections: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        self.sections += [value for name, value in attrs if name == "id" and tag == "section"]
        if tag not in EMPTY_ELEMENTS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(three(), title="Three models", work=WORK)


def test_the_page_is_well_formed_and_tells_everything(page):
    reader = read(page)
    assert reader.names.count("figure") == reader.names.count("svg") == len(figures(three(), WORK)) == 8
    text = " ".join(reader.text.split())
    for part in ("Three models", "278.3 M", "140.3 M", "70.6 ± 0.6", "evaluation sentence", "17", "0123abc", "2.13.0"):
        assert part in text
    assert reader.sections == ["results", "plots", "work", "languages", "text", "provenance"]
    assert len(set(reader.ids)) == len(reader.ids)
    links = [value for name, value in reader.attributes if name == "href"]
    assert links == [f"#{one}" for one in reader.sections]


def test_the_page_of_one_bare_report_has_only_what_there_is():
    bare = dataclasses.replace(report("student"), settings={}, provenance={}, model={})
    reader = read(render_page([bare]))
    assert reader.sections == ["results", "plots", "languages", "provenance"]


def test_nothing_is_loaded_from_elsewhere(page):
    without_names = re.sub(r'xmlns(:xlink)?="http://www.w3.org/[^"]*"', "", page)
    assert "://" not in without_names
    assert not re.search(r"<(script|link|img|iframe|object|embed)\b|@import|url\((?!#)|\bsrc=", page)


def test_what_is_handed_in_cannot_add_elements():
    evil = '"><script>alert(1)</script>'
    own = dataclasses.replace(
        report("student"),
        name=evil,
        model={evil: evil, "parameters": 5},
        settings={evil: {evil: evil}},
        provenance={evil: [evil]},
        versions={evil: evil},
        scores=tuple(
            dataclasses.replace(one, note=evil, dataset=evil, split=evil) for one in report("student").scores
        ),
    )
    work = Work(
        stages=(Stage(evil, evil, {evil: evil}, {evil: (evil, evil)}),),
        languages=(evil,),
        removed={evil: {evil: 1}},
        curve={"budgets": [1, 2], "coverage": {evil: [0.1, 0.2]}},
        losses={evil: [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 1.0}]},
        provenance={evil: evil},
    )
    page = render_page([own, report("teacher")], title=evil, work=work)
    assert "script" not in read(page).names
    assert "<script" not in page


def test_the_same_reports_give_the_same_bytes(page):
    assert render_page(three(), title="Three models", work=WORK) == page


def test_it_is_written_to_a_file_or_into_a_folder(tmp_path):
    reports = [EvalReport("bare", {}, (score(),))]
    assert write_page(reports, tmp_path / "deep" / "folder").name == "index.html"
    file = write_page(reports, tmp_path / "page.html")
    assert file == tmp_path / "page.html"
    assert file.read_text("utf-8") == render_page(reports)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "page.html"]


def test_reports_without_names_of_their_own_are_refused():
    with pytest.raises(ValueError, match=r"received \['student', 'student'\]"):
        render_page([report("student"), report("student")])
    with pytest.raises(ValueError, match=r"received \[\]"):
        render_page([])


def test_transfer_has_a_section_of_its_own():
    teacher = crossed()
    assert teacher.mean("ner", "entity_f1") == report("teacher").mean("ner", "entity_f1")
    page = render_page([teacher, report("student")])
    assert "trained on (rows), measured on (columns)" in page
    assert "mean of the others" in page


def test_a_page_of_tables_is_well_formed_and_escaped():
    table = Table("Rows", ("", "before"), ((Cell("<unk>"), Cell("5")),))
    reader = read(render_tables("A & B", "not <exact>", ["'<s>' is missing"], [table, table]))
    assert reader.names.count("table") == 2
    text = " ".join(reader.text.split())
    for part in ("A & B", "not <exact>", "'<s>' is missing", "<unk>"):
        assert part in text
    assert reader.names.count("li") == 1
