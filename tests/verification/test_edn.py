"""The EDN reader against the format's own description."""

import pytest

from consensus_bench.verification.edn import EdnError, Keyword, Symbol, read


def values(text: str) -> list[object]:
    return [value for _, value in read(text)]


def test_atoms() -> None:
    assert values('nil 1 -2 3N 1.5 2e3 :a/b true "a\\n\\"b\\u0041"') == [
        None, 1, -2, 3, 1.5, 2000.0, Keyword("a/b"), Symbol("true"), 'a\n"bA',
    ]  # fmt: skip


def test_collections_comments_tags_and_discards() -> None:
    assert values("[1, (2 3)] ; a comment ]\n#{4} #inst \"2020\" #_ [gone #_ also] {:a #_ 1 2}") == [
        (1, (2, 3)), frozenset({4}), "2020", {Keyword("a"): 2},
    ]  # fmt: skip


def test_lines_are_those_where_a_value_begins() -> None:
    assert [line for line, _ in read('1\n\n"a\nb" [\n]\n3')] == [1, 3, 4, 6]


def test_depth_is_not_limited_by_the_stack() -> None:
    depth = 100_000
    (value,) = values("[" * depth + "]" * depth)
    assert isinstance(value, tuple)


@pytest.mark.parametrize(
    ("text", "line"), [("\n[1", 2), ("]", 1), ("{:a}", 1), ('\n\n"a', 3), ("[1}", 1), ('"\\q"', 1)]
)
def test_errors_name_the_line(text: str, line: int) -> None:
    with pytest.raises(EdnError) as caught:
        values(text)
    assert caught.value.line == line
