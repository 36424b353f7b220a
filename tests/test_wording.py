from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from nanautopsy.wording import counted, listed, phrase, rephrased

ZH = {
    "{tag} is NaN at step {step}": "{tag} 在第 {step} 步为 NaN",
    "the loss": "损失",
    ", ": "、",
    "{n} tensors": "{n} 个张量",
}


def test_a_phrase_is_its_english_text():
    text = phrase("{tag} is NaN at step {step}", tag=phrase("the loss"), step=3)
    assert text == "the loss is NaN at step 3"
    assert text.said(lambda template: ZH.get(template, template)) == "损失 在第 3 步为 NaN"


def test_what_an_artifact_holds_is_not_translated():
    text = phrase("{tag} is NaN at step {step}", tag="the loss", step=3)
    assert text.said(lambda template: ZH.get(template, template)) == "the loss 在第 3 步为 NaN"


def test_numbers_keep_their_format():
    assert phrase("reaches {largest:.3g}", largest=65504.0) == "reaches 6.55e+04"


def test_a_listing_translates_its_separator_and_its_parts():
    text = listed([phrase("the loss"), "grad_norm", counted(2, "{n} tensor", "{n} tensors")])
    assert text == "the loss, grad_norm, 2 tensors"
    assert phrase("{what}!", what=text).said(lambda t: ZH.get(t, t)) == "损失、grad_norm、2 个张量!"


def test_braces_of_artifacts_are_no_template():
    assert phrase("{tag} ends", tag="{step}") == "{step} ends"
    assert phrase("a plain {text}") == "a plain {text}"


def test_change_reaches_values_and_keeps_the_phrase():
    text = phrase("{path} is damaged", path=phrase("under {home}", home="/home/ann"))
    new = rephrased(text, lambda part: part.replace("/home/ann", "~"))
    assert new == "under ~ is damaged"
    assert new.said(lambda t: t.replace("under", "below")) == "below ~ is damaged"


def test_what_only_the_whole_shows_is_still_changed():
    text = phrase("key={value}", value="abc")
    assert rephrased(text, lambda part: part.replace("key=abc", "<secret>")) == "<secret>"


@given(st.text(), st.text())
def test_pickling_keeps_the_parts(template, value):
    for text in (phrase(template), phrase("{a} and {b}", a=value, b=phrase(template))):
        copy = pickle.loads(pickle.dumps(text))
        assert (copy, copy.template, copy.values) == (text, text.template, text.values)


def test_sentences_of_chinese_stand_without_a_space() -> None:
    row = listed([phrase("one."), phrase("two."), phrase("three")], " ")
    assert str(row) == "one. two. three"
    assert row.said(lambda text: {"one.": "一。"}.get(text, text)) == "一。two. three"
