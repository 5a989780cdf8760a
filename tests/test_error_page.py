"""docs/errors.md is what the sources say, and every class has advice."""

from __future__ import annotations

import error_page


def test_every_class_that_is_raised_has_advice() -> None:
    assert error_page.unknown() == set()


def test_the_page_is_what_the_sources_say() -> None:
    text = error_page.PAGE.read_text(encoding="utf-8")
    assert text == error_page.page(), "python tests/error_page.py writes docs/errors.md"


def test_messages_of_both_languages_are_found() -> None:
    page = error_page.page()
    for message in (
        "cannot open the file: {error}",  # Error::io
        "the file is empty",  # Error::corrupt
        "threads must be at least 1, not {threads}",  # a raise
        "the cache could not write {error}",  # a warning
        'quality must be "fast", "high" or "best", not {name:?}',  # a raw string
        "the codec {name} in Ogg is not decoded here",  # a variable before its constructor
    ):
        assert f"- `{message}" in page
    assert "a test that cannot go on" not in page
