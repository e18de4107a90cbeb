"""YAML text: what is refused and where, what is read and how. ``¦`` marks the place that must be named."""

import math
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnncli.config import reader
from cnncli.config.reader import MAX_BYTES, YamlNode, read_text, read_value
from cnncli.config.writer import to_yaml
from cnncli.errors import ConfigError

NO_MAPPING = "is not a mapping of sections at its top. A config has the sections data, model and train."
REFUSED = [
    ("empty", "¦", "is empty. A config has the sections data, model and train."),
    ("comment", "¦# nothing\n", "is empty. A config has the sections data, model and train."),
    ("list", "¦- a\n- b\n", NO_MAPPING),
    ("text", "¦abc", NO_MAPPING),
    ("two documents", "a: 1\n¦---\nb: 2\n", "a second document begins. One file is one config."),
    ("tab", "a:\n¦\tb: 1\n", "not YAML: found character '\\t' that cannot start any token. Indent with spaces."),
    ("bracket", "a: [1, 2\nb¦: 3\n", "not YAML: expected ',' or ']', but got ':'. Is the [ of line 1 closed?"),
    ("brace", "a: {b: 1\nc¦: 3\n", "not YAML: expected ',' or '}', but got ':'. Is the { of line 1 closed?"),
    ("quote", "a: 'b\nc: 3\n¦", "not YAML: found unexpected end of the text. Is the ' of line 1 closed?"),
    ("colon", "a: b¦: c\n", "not YAML: mapping values are not allowed here. Is the line indented as the one above? "
     "Text with ': ' in it needs quotes."),
    # a sign that is missing is told where it is missing, not on the line that PyYAML blames
    ("no colon", "t:\n  ¦epochs 3\n  keep: 3\n", "not YAML: a ':' or a space is missing. Write epochs: 3"),
    ("no colon at the end", "t:\n  a: 3\n  ¦epochs 3\n", "not YAML: a ':' or a space is missing. Write epochs: 3"),
    ("no colon, a section", "a: 3\n¦model # net\n\n  # more\n  x: [8]\n", "not YAML: a ':' or a space is missing. "
     "Write model:"),
    ("no colon before braces", "t:\n  ¦optimizer {sgd: {lr: 0.1}}\n", "not YAML: a ':' or a space is missing. "
     "Write optimizer: {sgd: {lr: 0.1}}"),
    ("no colon in an item", "a:\n  - relu\n  ¦- conv {f: 3, k: 3}\n", "not YAML: a ':' or a space is missing. "
     "Write - conv: {f: 3, k: 3}"),
    ("no space", "t:\n  ¦epochs:3\n  keep: 3\n", "not YAML: a ':' or a space is missing. Write epochs: 3"),
    ("equals", "a: 3\n¦epochs=3\nb: 3\n", "not YAML: a ':' or a space is missing. Write epochs: 3"),
    ("no space in an item", "a:\n  - relu\n  ¦-fc: 10\n  - tanh\n", "not YAML: a ':' or a space is missing. "
     "Write - fc: 10"),
    ("no space in the first item", "a:\n  ¦-fc: 10\n  - tanh\n", "not YAML: a ':' or a space is missing. "
     "Write - fc: 10"),
    ("fields below a bare item", "a:\n  ¦- relu\n    name: x\n", "not YAML: a ':' or a space is missing. "
     "Write - relu:"),
    ("NUL", "a: b¦\0\n", "holds the control character U+0000. Delete it."),
    ("line separator", "a: b # ¦\u2028\n", "holds the control character U+2028. Delete it."),
    ("duplicate", "a: 1\nb: 2\n¦a: 3\n", "the key 'a' stands twice (first on line 1). Keep one."),
    ("deep duplicate", "a: {b: 1, ¦b: 2}\n", "a: the key 'b' stands twice (first on line 1). Keep one."),
    ("python tag", "a: ¦!!python/object/apply:os.system ['touch canary']\n", "tags are not read (got "
     "tag:yaml.org,2002:python/object/apply:os.system). Write the plain value."),
    ("tag", "a: ¦!x 3\n", "tags are not read (got !x). Write the plain value."),
    ("anchor", "a: ¦&x 3\nb: *x\n", "anchors and aliases are not read (got &x). Use blocks: for what repeats."),
    ("alias", "b: ¦*x\n", "anchors and aliases are not read (got *x). Use blocks: for what repeats."),
    ("recursive", "a: ¦&x [*x]\n", "anchors and aliases are not read (got &x). Use blocks: for what repeats."),
    ("bomb", "a0: ¦&a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)),
     "anchors and aliases are not read (got &a0). Use blocks: for what repeats."),
    ("10,000 lists", "a: " + "[" * 63 + "¦" + "[" * 10_000, "nested more than 64 deep"),
    ("10,000 mappings", "{a: " * 64 + "¦" + "{a: " * 10_000, "nested more than 64 deep"),
    ("3,000 indents", "".join(" " * i + "a:\n" for i in range(64)) + " " * 64 + "¦a:\n"
     + "".join(" " * i + "a:\n" for i in range(65, 400)), "nested more than 64 deep"),
    ("5,000 digits", "a: ¦" + "1" * 5000, "a: a whole number of 5000 digits is out of range"),
    ("a huge exponent", "a: ¦1e999", "a: 1e999 is out of range"),
    ("key is a list", "? ¦[a]\n: 1\n", "a key must be text"),
    ("long key", "¦" + "k" * 101 + ": 1\n", "a key must be of at most 100 characters"),
    ("half a character", 'a: ¦"\\ud800"\n', "a: holds half a character (U+D800)"),
    ("no character", '¦a: "\\UFFFFFFFF"\n', "not YAML: an escape in quotes is no character"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused(refused_at, text, message):
    assert refused_at(text) == message


def test_too_many_values(refused_at, monkeypatch):
    monkeypatch.setattr(reader, "MAX_VALUES", 1000)
    text = "a: [" + "1," * 996 + "¦" + "1," * 9 + "]\n"  # the marks of document, mapping and list count too
    assert refused_at(text) == "holds more than 1,000 values. Keep data in files."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: \xff\n", "x.yaml:1:4  is not UTF-8 text. Save it as UTF-8."),
        ("a: é\n".encode() + b"b: \xc3(\n", "x.yaml:2:4  is not UTF-8 text. Save it as UTF-8."),
        ("a: 1\n".encode("utf-16"), "x.yaml:1:1  is not UTF-8 text. Save it as UTF-8."),
        (b"a: 1\n" + b"#" * MAX_BYTES, "x.yaml  is over 1 MiB, which no network needs"),
    ],
    ids=["latin-1", "second line", "UTF-16", "over 1 MiB"],
)
def test_refused_bytes(refused, content, message):
    assert refused(content) == [message]


def test_refused_paths(cnn, tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "zeros.yaml").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.yaml")
    hint = "`cnn init NAME` writes a starter config."
    assert cnn("inspect", "none.yaml").errors == [f"none.yaml  no such file. {hint}"]
    assert cnn("inspect", "none/x.yaml").errors == [f"none/x.yaml  no such file. {hint}"]
    assert cnn("inspect", "folder.yaml").errors == ["folder.yaml  is a directory, not a YAML file"]
    assert cnn("inspect", "loop.yaml").errors == ["loop.yaml  cannot be read: too many levels of symbolic links"]
    assert cnn("inspect", "pipe.yaml").errors == ["pipe.yaml  cannot be read: it is a pipe, not a plain file"]
    assert cnn("inspect", "zeros.yaml").errors == ["zeros.yaml  cannot be read: it is a device, not a plain file"]
    assert cnn("inspect", "lenet").errors == ["lenet  no such file, run or bundled config. Did you mean lenet5?"]
    long = cnn("inspect", "x" * 5000 + ".yaml")
    assert long.code == 2
    assert "file name too long" in long.err
    assert cnn("inspect", "x" * 5000).code == 2
    assert cnn("inspect", "x\udc80").code == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E5", 1e5), ("-1.5e+2", -150.0), (".5", 0.5), ("1.", 1.0), ("+3", 3), ("-0", 0), ("0", 0),
        ("true", True), ("False", False), ("~", None), ("null", None), ("", None),
        (".inf", math.inf), ("-.inf", -math.inf),
        *((text, text) for text in ("no", "on", "yes", "off", "y", "010", "007", "1:30", "0x10", "0o7", "1_000", "=",
                                    "2024-01-01", "2024-13-45", "0x_", "1e", "e5", "--1", "<<", "08.5", "nan", "inf")),
        ("'1'", "1"), ('"1e-3"', "1e-3"), ("'true'", "true"), ("Größe", "Größe"), ("网络", "网络"),
    ],
)  # fmt: skip
def test_scalars_are_what_was_written(text, value):
    read = read_text(f"a: {text}\n", "x").value["a"].value
    assert read == value
    assert type(read) is type(value)


def test_nan():
    assert math.isnan(read_value(".nan", "x").value)


@pytest.mark.parametrize("text", ["a: 1\r\nb:\r\n  - c: x\r\n", "\ufeffa: 1\nb:\n  - c: x\n", "a: 1\nb:\n- c: x"])
def test_line_ends_and_byte_order_mark(tmp_path, text):
    from cnncli.config.reader import file_text

    (tmp_path / "x.yaml").write_bytes(text.encode())
    node = read_text(file_text(tmp_path / "x.yaml"), "x")
    assert node.plain() == {"a": 1, "b": [{"c": "x"}]}
    assert node.find(("b", 0, "c")).place.line == 3
    assert node.keys["b"].line == 2
    assert node.find(("b", 0, "c")).path == "b[0].c"


def every(node: YamlNode):
    yield node
    for child in node.children():
        yield from every(child)


# Pieces that mean something in YAML make more of the random texts interesting.
PIECES = st.sampled_from(
    ["a", "b: ", ": ", "- ", "\n", "\n  ", "\n\t", "[", "]", "{", "}", ", ", "'", '"', "|", ">", "&x", "*x", "!t", "#",
     "%", "---", "...", "?", "1e400", "9" * 40, "~", "\\U", "\\x", "\0", "\x85", "\u2028", "\ufeff", "é", "\ud800",
     "<<", "@", "`"]
)  # fmt: skip
TEXTS = st.text(max_size=60) | st.lists(PIECES, max_size=25).map("".join)


@settings(deadline=None, max_examples=600)
@given(TEXTS)
@example("a: !!python/object/apply:os.system [x]")
@example('"\\U00110000"')
@example("%TAG ! tag:yaml.org,2002:python/object/new:\n--- !x {}")
def test_any_text_is_read_or_refused(text):
    lines = text.count("\n") + text.count("\r") + 2
    try:
        places = [each.place for each in every(read_value(text, "x"))]
    except ConfigError as error:
        places = [problem.place for problem in error.problems]
        str(error).encode()  # printable, whatever stood in the text
    assert places
    assert all(place.line and 1 <= place.line <= lines for place in places)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS.filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab1e-.~ é:#", max_size=6), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(PLAIN)
@example(["1e5", "1.5e3", "010", "no", "", "~", "\x85", "\ufeff", "- a", "'", ".5", "a\n b", "\ufffe", "\U0001f600"])
def test_what_is_written_reads_back(value):
    assert read_value(to_yaml(value), "x").plain() == value
