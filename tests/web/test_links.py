import pytest

from astra.web.links import PAGES, ServerLinks, StaticLinks, page_file
from astra.web.render import environment, render

HOSTILE = [("<script>alert(1)</script>", '"&')]


def test_links_of_a_folder_are_relative_to_the_page():
    pages = frozenset({"index.html", "visits/12.html", "visits/12_3.html"})
    links = StaticLinks("visits/12.html", pages)
    assert links.to("night", instrument="simcam", night=20261120) == "../index.html"
    assert links.to("detector", instrument="simcam", visit=12, detector=3) == "12_3.html"
    assert links.asset("style.css") == "../static/style.css"
    assert links.picture("ab.png") == "../pictures/ab.png"


def test_a_page_that_a_folder_lacks_has_no_address():
    links = StaticLinks("index.html", frozenset({"index.html"}))
    assert links.to("visit", instrument="simcam", visit=12) is None
    assert links.to("task", task_id="ProcessCcd_1") is None
    assert links.to("nights") is None


def test_links_of_a_server_quote_what_they_are_given():
    links = ServerLinks("/astra")
    assert links.to("night", instrument="a/b?c", night=20261120) == "/astra/night/a%2Fb%3Fc/20261120"
    assert links.to("tasks", family="A&B", state="failed") == "/astra/tasks?family=A%26B&state=failed"
    assert links.to("visit", instrument="simcam") is None
    assert links.to("tasks", family=None, state="") == "/astra/tasks"


def test_a_server_has_only_the_pages_that_it_says():
    assert ServerLinks(pages=("nights",)).to("about") is None


@pytest.mark.parametrize("value", ["../x", "a/b", "", ".", "a.b", "a b", "x\0"])
def test_a_key_that_is_no_plain_word_makes_no_file(value):
    with pytest.raises(ValueError, match="part of the name of a page"):
        page_file("object", object=value)
    assert StaticLinks("index.html", frozenset({"index.html"})).to("object", object=value) is None


def test_every_page_has_an_address():
    assert all(page.address.startswith("/") for page in PAGES.values())


def test_values_come_out_escaped_and_the_page_is_marked():
    text = render(
        "report_about.html", ServerLinks(), page="about", scope={}, versions=HOSTILE, facts=[], left_out=[]
    )
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert '<a href="/about" aria-current="page">About</a>' in text


def test_no_template_turns_escaping_off():
    names = environment().list_templates()
    assert names
    sources = {name: environment().loader.get_source(environment(), name)[0] for name in names}
    assert [name for name, source in sources.items() if "|safe" in source.replace(" ", "")] == []
    assert [name for name, source in sources.items() if "autoescape" in source] == []
