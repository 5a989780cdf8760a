"""ByteTokenizer: any text survives the way there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossicle.model import ByteTokenizer

tokenizer = ByteTokenizer()


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids == [256, *text.encode()]
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(tokenizer.encode(text, add_bos=False)) == text


@given(st.lists(st.integers(0, 256)))
def test_any_ids_decode_to_some_text(ids: list[int]) -> None:
    text = tokenizer.decode(ids)
    assert text == bytes(i for i in ids if i < 256).decode("utf-8", errors="replace")


@pytest.mark.parametrize("bad", [-1, 257, 1000])
def test_an_id_outside_the_vocabulary_is_a_value_error_that_names_it(bad: int) -> None:
    with pytest.raises(ValueError, match=f"token id {bad} "):
        tokenizer.decode([72, bad])


def test_the_vocabulary_is_bytes_and_one_beginning() -> None:
    assert (tokenizer.vocab_size, tokenizer.bos_token_id) == (257, 256)
    assert tokenizer.encode("") == [256]
