"""The chat template's contract: the tokenizer that ships, and templates as they are out there."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers

import mini_lima
from mini_lima.errors import UserError
from mini_lima.models import rendering
from mini_lima.models.language_model import load_tokenizer
from mini_lima.models.rendering import ChatTemplate

TINY = Path(mini_lima.__file__).parent / "assets/qwen-tiny"
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
MARKERS = ["\U000f0000", "\U000f0001"]  # around what transformers keeps from being a token

TRIMMING = """
{%- for m in messages %}
    {{- '<|im_start|>' ~ m.role ~ '\\n' ~ (m.content | trim) ~ '<|im_end|>' ~ '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

# Qwen1.5's way: a system message of its own, and an assistant header after each user turn, asked or
# not, that the assistant's turn then does without.
HEADER_AFTER_USER = """
{{- '<|im_start|>system\\nBe helpful.<|im_end|>\\n' }}
{%- for m in messages %}
    {%- if m.role == 'user' %}
        {{- '<|im_start|>user\\n' ~ m.content ~ '<|im_end|>\\n<|im_start|>assistant\\n' }}
    {%- else %}
        {{- m.content ~ '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}"""

ANSWER = "m.content ~ '<|im_end|>\\n'"  # as HEADER_AFTER_USER writes it


def tokenizer_with(template=None):
    tokenizer = load_tokenizer(TINY, None)
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


TEMPLATES = {
    "shipped": ChatTemplate(tokenizer_with()),
    "trimming": ChatTemplate(tokenizer_with(TRIMMING)),
    "header after user": ChatTemplate(tokenizer_with(HEADER_AFTER_USER)),
}
each_template = pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)

patient = settings(deadline=None, max_examples=50)

# Pieces of special tokens, whitespace, characters that Unicode composes with what stands before
# them, and the private ones by which transformers marks a spelled-out token.
fragments = st.sampled_from([*SPECIAL, "<|", "im_", "end", "|>", ">", "\n", " ", "\t", "assistant"])
awkward = st.sampled_from(["e", "\u0301", "\u0338", "\u2028", "\ufb01", *MARKERS])
texts = st.lists(fragments | awkward | st.text(max_size=5), max_size=8).map("".join)


def rendered(template, *contents):
    """The template's text of a conversation, without the header that would ask for more."""
    roles = ("user", "assistant")
    messages = [
        {"role": role, "content": text} for role, text in zip(roles, contents, strict=False)
    ]
    asking = len(contents) == 1
    return template.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=asking
    )


def special_tokens(template, ids):
    tokens = template.tokenizer.convert_ids_to_tokens(ids)
    return [token for token in tokens if token in SPECIAL]


def composed(text):
    return unicodedata.normalize("NFC", text)


@each_template
def test_a_prompt_ends_with_the_assistant_header_and_a_response_with_the_end_of_turn(template):
    decode = template.tokenizer.decode
    found = template.conversation("Translate into French.", "Good morning", "  Bonjour\n")
    assert decode(found.prompt).endswith(
        "<|im_start|>user\nTranslate into French.\n\nGood morning<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert decode(found.prompt).count("<|im_start|>assistant") == 1
    assert decode(found.response) == "Bonjour<|im_end|>"
    assert found.response[-1] == template.end_of_turn
    assert found.prompt == template.prompt("Translate into French.", "Good morning")
    without_input = decode(template.prompt("Translate into French."))
    assert "user\nTranslate into French.<|im_end|>" in without_input


@each_template
@patient
@given(instruction=texts, given_input=texts, output=texts)
def test_text_of_the_data_never_becomes_a_control_token(template, instruction, given_input, output):
    found = template.conversation(instruction, given_input, output)
    assert special_tokens(template, found.prompt) == special_tokens(template, template.prompt("?"))
    assert special_tokens(template, found.response) == ["<|im_end|>"]
    decode = template.tokenizer.decode
    assert composed(decode(found.response[:-1])) == composed(output.strip())
    content = f"{instruction}\n\n{given_input}" if given_input else instruction
    if not any(marker in content for marker in MARKERS):
        assert composed(decode(found.prompt)) == composed(rendered(template, content))


CHATML = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
LOOP = "{% for m in messages %}" + CHATML + "{% endfor %}"


NO_THOUGHT = "<think>\n\n</think>\n\n"
HYBRID = (  # as Qwen3's: it thinks unless it is told not to
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}"
    f"{NO_THOUGHT}{{% endif %}}{{{{ m.content }}}}<|im_end|>\n{{% endfor %}}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is false %}"
    f"{NO_THOUGHT}{{% endif %}}{{% endif %}}"
)
OPENED = LOOP + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"


def test_a_template_that_thinks_is_told_not_to_and_the_trained_model_s_keeps_to_it(tmp_path):
    file = tmp_path / "template.jinja"
    file.write_text(HYBRID, encoding="utf-8")
    for name in ("enable_thinking", "date"):
        with pytest.raises(UserError, match=r"think before" if name == "enable_thinking" else name):
            ChatTemplate(load_tokenizer(TINY, None, file, {name: True}))
    tokenizer = load_tokenizer(TINY, None, file, {"enable_thinking": False})
    tokenizer.save_pretrained(tmp_path / "trained")
    for found in (tokenizer, load_tokenizer(tmp_path / "trained", None)):
        asked = ChatTemplate(found).conversation("Hi", "", "Hello.").prompt
        assert found.decode(asked).endswith(f"<|im_start|>assistant\n{NO_THOUGHT}")


def test_a_date_may_be_fixed_and_one_that_is_not_written_does_not_matter(tmp_path):
    dated = "{%- if strftime_now is defined %}{{- strftime_now('%d %b %Y') }}{% endif %}"
    file = tmp_path / "template.jinja"
    file.write_text(dated + HEADER_AFTER_USER, encoding="utf-8")
    fixed = load_tokenizer(TINY, None, file, {"strftime_now": "26 Jul 2024"})
    assert fixed.decode(ChatTemplate(fixed).prompt("Hi")).startswith("26 Jul 2024<|im_start|>")
    unused = tokenizer_with("{%- set today = strftime_now('%d') %}" + HEADER_AFTER_USER)
    assert ChatTemplate(unused).prompt("Hi") == TEMPLATES["header after user"].prompt("Hi")
    with pytest.raises(UserError, match="today's date"):  # where the data has a system message
        ChatTemplate(tokenizer_with(
            "{%- if messages[0].role == 'system' %}{{- strftime_now('%M') }}{% endif %}"
            + HEADER_AFTER_USER
        )).conversation("Hi", "", "Ho", system="Be brief.")  # fmt: skip


@pytest.mark.parametrize(
    "value", [None, True, 2.5, 'a "b" \\ é \U0001f600', ["x", None, {"y": [1]}]]
)
def test_what_a_template_is_called_with_arrives_as_it_was_given(tmp_path, value):
    file = tmp_path / "template.jinja"
    file.write_text("{{ given | tojson }}", encoding="utf-8")
    tokenizer = load_tokenizer(TINY, None, file, {"given": value})
    assert json.loads(tokenizer.apply_chat_template([{}], tokenize=False)) == value


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (None, "no chat template"),
        (HYBRID, "think before it answers"),
        (OPENED, "think before it answers"),
        # The header asks for something else than what then follows.
        (LOOP + "{% if add_generation_prompt %}<|im_start|>bot\n{% endif %}", "does not begin"),
        # No header, as in the study.
        (LOOP, "does not begin"),
        # An answer that is not shown as it is, or not at once.
        (HEADER_AFTER_USER.replace(ANSWER, "'Yes.'"), "does not begin"),
        (HEADER_AFTER_USER.replace(ANSWER, "'Yes: ' ~ " + ANSWER), "does not begin"),
        # Nothing, a line end, or words where an answer ends.
        (HEADER_AFTER_USER.replace(ANSWER, "m.content"), "with ''"),
        (HEADER_AFTER_USER.replace(ANSWER, "m.content ~ '\\n'"), "with '.n'"),
        (HEADER_AFTER_USER.replace(ANSWER, "m.content ~ 'END'"), "with 'END'"),
        # A tokenizer that was made for another template.
        (HEADER_AFTER_USER.replace("<|im_end|>", "<|eot|>"), r"writes <\|eot\|>, .*not have"),
        (HEADER_AFTER_USER.replace("<|im_start|>sys", "<|start|>sys"), r"writes <\|start\|>, "),
        ("{{ raise_exception('a system message is needed') }}", "fails: a system message"),
        ("{{ messages[0].content[0]['text'] | upper }}{{ 1 + 'a' }}", "fails"),
        ("{% for m in messages %}", "fails"),
        # What follows from more than the conversation.
        ("{{ strftime_now('%Y') }}" + HEADER_AFTER_USER, "today's date"),
        ("{{ [1, 2, 3] | random }}" + HEADER_AFTER_USER, "something random"),
        ("{{ lipsum(n=1) }}" + HEADER_AFTER_USER, "something random"),
        ("{{ joiner() }}" + HEADER_AFTER_USER, "place in memory"),
        # What takes for ever, or all memory.
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "takes more"),
        ("{{ 'x' * 10 ** 11 }}", "takes more"),
        ("{% set n = namespace(x='x') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}"
         "{% endfor %}{{ n.x }}", "takes more"),
    ],
)  # fmt: skip
def test_a_template_that_training_could_not_rely_on_is_refused(template, complaint, monkeypatch):
    monkeypatch.setattr(rendering, "SECONDS", 0.5)
    tokenizer = tokenizer_with()
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=complaint):
        ChatTemplate(tokenizer)


def test_text_that_cannot_be_kept_from_becoming_a_control_token_is_refused():
    tokenizer = tokenizer_with()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.add_tokens([AddedToken("<|stop|>", special=True, normalized=True)])
    template = ChatTemplate(tokenizer)
    assert template.prompt("Stop!")
    with pytest.raises(UserError, match=r"'Say <\|STOP\|>"):
        template.prompt("Say <|STOP|>")


def asked(template, *contents, system=""):
    """The template's text of a conversation and of the header that asks for the next answer."""
    messages = [{"role": "system", "content": system}] if system else []
    messages += [
        {"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(contents)
    ]
    return template.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )


# Qwen1.5's template shows a system message of the data in place of its own.
SYSTEM = HEADER_AFTER_USER.replace(
    "{{- '<|im_start|>system\\nBe helpful.<|im_end|>\\n' }}",
    "{{- '<|im_start|>system\\n' ~ (messages[0].content if messages[0].role == 'system' else 'Be"
    " helpful.') ~ '<|im_end|>\\n' }}",
).replace("{%- else %}", "{%- elif m.role == 'assistant' %}")
SEVERAL = {
    "shipped": TEMPLATES["shipped"],
    "trimming": TEMPLATES["trimming"],
    "system in place of its own": ChatTemplate(tokenizer_with(SYSTEM)),
}
several = pytest.mark.parametrize("template", SEVERAL.values(), ids=SEVERAL)
histories = st.lists(st.tuples(texts, texts), max_size=3)


@several
@patient
@given(instruction=texts, output=texts, system=texts, history=histories)
def test_every_answer_of_a_conversation_stands_after_the_prompt_that_asks_for_it(
    template, instruction, output, system, history
):
    found = template.conversation(instruction, "", output, system=system, history=history)
    ids = [*found.prompt, *found.response]
    spans = [*found.earlier, (len(found.prompt), len(ids))]
    answers = [*(answer.strip() for _, answer in history), output.strip()]
    assert found.supervised == sum(end - start for start, end in spans)
    decode = template.tokenizer.decode
    said = [text for turn in history for text in (turn[0], turn[1].strip())] + [instruction]
    for turn, ((start, end), answer) in enumerate(zip(spans, answers, strict=True)):
        assert special_tokens(template, ids[start:end]) == ["<|im_end|>"]
        assert composed(decode(ids[start : end - 1])) == composed(answer)
        if not any(marker in text for text in (system, *said) for marker in MARKERS):
            before = asked(template, *said[: 2 * turn + 1], system=system)
            assert composed(decode(ids[:start])) == composed(before)
    roles = ids.count(template.tokenizer.convert_tokens_to_ids("<|im_start|>"))
    has_system = bool(system) or template is SEVERAL["system in place of its own"]
    assert roles == len(said) + 1 + has_system
