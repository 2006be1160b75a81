"""What other parts refuse, in the words of the pages: said as it is in English, and in Chinese as translated."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from sojourn.console.identity.accounts import New, check_new, check_roles
from sojourn.console.identity.passwords import weakness
from sojourn.console.pages.refusals import SENTENCES, told
from sojourn.console.pages.words import words
from sojourn.events.errors import UsageError

CHINESE: Final = words("zh")


def refusal(check: Callable[..., Any], *given: Any) -> str:
    """Return what a check says against something."""
    with pytest.raises(UsageError) as caught:
        check(*given)
    return str(caught.value)


def test_every_sentence_has_its_chinese() -> None:
    assert [sentence for sentence in SENTENCES if CHINESE.gettext(sentence) == sentence] == []


@pytest.mark.parametrize(
    "text",
    [
        weakness("short", "ada"),
        weakness("aaaaaaaaaaaa", "ada"),
        weakness("password1234", "ada"),
        refusal(check_new, "acme", New("*", "Ada", ["viewer"])),
        refusal(check_new, "acme", New("ada", " ", ["viewer"])),
        refusal(check_new, "acme", New("ada", "A\ta", ["viewer"])),
        refusal(check_roles, "acme", []),
        refusal(check_roles, "acme", ["king"]),
        refusal(check_roles, "acme", ["platform_admin"]),
        refusal(check_roles, "~platform", ["platform_admin", "viewer"]),
    ],
)
def test_what_a_check_says_is_one_of_the_sentences(text: str) -> None:
    assert told(text, words("en")) == text
    assert told(text, CHINESE) != text
    assert "<bdi>" not in told(text, CHINESE)


def test_values_stand_in_the_translation() -> None:
    text = "its broker does not take disconnect; what /brokers/x declares: no commands"

    assert [value in told(text, CHINESE) for value in ("disconnect", "/brokers/x", "no commands")] == [True] * 3


def test_words_of_a_broker_stay_as_they_are_and_do_no_harm() -> None:
    assert told("the desktop <b> is in maintenance", CHINESE) == "<bdi>the desktop &lt;b&gt; is in maintenance</bdi>"
