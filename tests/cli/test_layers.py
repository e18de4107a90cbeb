"""``cnn layers``: a page for every word that a config can hold."""

import json

import pytest

from cnncli.report import reference
from tests.helpers.commands import runner

WORDS = {
    "conv": ("filters", "groups"),
    "adam": ("adam (optimizer)", "b1", "0.999"),
    "cosine": ("cosine (schedule)", "warmup"),
    "focal": ("focal (loss)", "gamma"),
    "mixup": ("mixup (augmentation)", "strength"),
    "standardize": ("standardize (preprocessing step)", "channel | pixel"),
    "folder": ("folder (data source)", "resize to this"),
    "he_normal": ("he_normal (initializer)", "kaiming_normal"),
    "train": ("train (section)", "early_stop", "one optimizer", "100 steps"),
    "data": ("data (section)", "list of augmentations"),
    "early_stop": ("early_stop (section)", "patience"),
    "linear": ("The identity", "linear (schedule)"),  # two things of one name
    "optimizer": ("adamw", "Stochastic gradient descent"),  # a family
    "augment": ("cutout", "random_flip"),
}


@pytest.fixture
def cnn(monkeypatch, capsys):
    return runner(monkeypatch, capsys)


@pytest.mark.parametrize(("word", "said"), WORDS.items(), ids=WORDS)
def test_a_page(cnn, word, said):
    outcome = cnn("layers", word)
    assert outcome.code == 0
    for text in said:
        assert outcome.out.count(text) >= 1, outcome.out
    assert outcome.out.count(f"{word} (") <= 1


def test_every_page_has_a_text_and_a_type_for_each_field():
    pages = reference.pages()
    assert len(pages) > 130
    for page in pages:
        document = reference.page_document(page)
        assert page.word in (document.get("layer"), document.get("name"))
        assert document["text"]
        assert all(field["type"] not in ("", "value") for field in document["fields"]), document


def test_the_overview_names_every_page(cnn):
    said = cnn("layers").out.replace(",", " ").split()
    assert {page.word for page in reference.pages()} <= set(said)


def test_json(cnn):
    assert json.loads(cnn("layers", "adam", "--json").out)["fields"][0]["name"] == "lr"
    assert json.loads(cnn("layers", "linear", "--json").out)["layer"] == "linear"
    assert {"family", "name", "summary"} == set(json.loads(cnn("layers", "schedule", "--json").out)[0])


@pytest.mark.parametrize(
    ("word", "hint"),
    [("conv2d", "Did you mean conv?"), ("adm", "Did you mean adam?"), ("kaiming", "Did you mean he_normal?")],
)
def test_no_page(cnn, word, hint):
    outcome = cnn("layers", word)
    assert outcome.code == 2
    assert hint in outcome.err
