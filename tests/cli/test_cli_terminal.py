"""Text for terminals: nothing but what can be printed, and words that a shell gives back."""

import subprocess

from hypothesis import given
from hypothesis import strategies as st

from astra.cli.terminal import escape, shell_word, table_lines


@given(st.text())
def test_escaped_text_is_printable(text):
    assert escape(text).isprintable()


def test_printable_text_stays_as_it_is():
    assert escape("é Cen, 5\u2032 [nJy]") == "é Cen, 5\u2032 [nJy]"


def test_lines_of_a_traceback_stay_lines():
    assert escape("a\n\tb\x1b[0m\x9b", keep="\n\t") == "a\n\tb\\x1b[0m\\x9b"


def test_a_shell_gives_quoted_words_back():
    words = ["", "plain", "two words", "it's", "$HOME", "a\nb\x1b", "é\x07'\\", '["1","2"]', "\x011"]
    command = "printf '%s\\0' " + " ".join(map(shell_word, words))
    assert command.isprintable()
    output = subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout
    assert output.decode().split("\0")[:-1] == words


def test_numbers_stand_at_the_right():
    assert table_lines(("name", "n"), [("a", 5), ("bcd", 1234)]) == ["name     n", "a        5", "bcd   1234"]
