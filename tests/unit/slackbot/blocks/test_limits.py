"""Slack's limits: what is within passes, what is beyond is named."""

from __future__ import annotations

import pytest

from lab.slack import limits as slack
from slackbot.blocks.buttons import actions, button
from slackbot.blocks.elements import (
    Message,
    context,
    header,
    mention,
    plain,
    rich_text,
    section,
    span,
    table,
    user,
)
from slackbot.blocks.form import FormContext, form_view
from slackbot.blocks.limits import (
    Block,
    message_problems,
    option_problems,
    problems,
    view_problems,
)

TASK = {"type": "task_card", "task_id": "1", "title": "x", "status": "pending"}


def raw(text: str) -> Block:
    return {"type": "plain_text", "text": text}


LONG = dict.fromkeys(("title", "text", "confirm", "deny"), raw("x" * 31))
FINE: list[Block] = [
    header("x" * 500),
    section("y" * 5000),
    context(*[plain("z")] * 10),
    *actions(button("a", "A" * 100, "v"), button("b", "B", "v")),
    table([["a"] * 20] * 100),
    rich_text([span("x" * 9000)], [user("U0ALICE")]),
    {"type": "divider"},
    {"type": "plan", "title": "t", "tasks": [TASK | {"details": rich_text([span("x")])}]},
]

BEYOND: list[tuple[Block, str]] = [
    ({"type": "header", "text": raw("x" * 151)}, "151 characters"),
    ({"type": "header", "text": raw("")}, "empty"),
    ({"type": "section", "text": raw("x" * 3001)}, "3001"),
    ({"type": "section", "text": {"type": "markdown", "text": "x"}}, "markdown"),
    ({"type": "section", "text": raw("x"), "accessory": button("", "x", "v")}, "action_id"),
    (context(*[plain("z")] * 11), "11 elements"),
    ({"type": "context", "elements": []}, "0 elements"),
    ({"type": "actions", "elements": [button(f"a{n}", "A", "v") for n in range(26)]}, "26"),
    ({"type": "actions", "elements": []}, "0 elements"),
    (actions(button("a", "A", "v"), button("a", "A", "v"))[0], "twice"),
    (actions(button("a", "A", "v" * 2001))[0], "2001"),
    (actions(button("a", "A", "v", url="h" * 3001))[0], "3001"),
    (actions(button("a", "A", "v") | {"text": raw("x" * 76)})[0], "76"),
    (actions(button("a", "A", "v", confirm=LONG))[0], "31"),
    (table([["a"] * 21]), "21 columns"),
    (table([["a"]] * 101), "101 rows"),
    ({"type": "table", "rows": [[{"type": "raw_text", "text": ""}]]}, "a cell"),
    ({"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": []}]}, "empty"),
    ({"type": "plan", "title": "", "tasks": []}, "title"),
    ({"type": "plan", "title": "t", "tasks": [TASK | {"status": "done"}]}, "'done'"),
    ({"type": "carousel"}, "unknown type 'carousel'"),
]  # fmt: skip


@pytest.mark.parametrize("block", FINE, ids=lambda block: str(block["type"]))
def test_elements_stay_within_the_limits(block: Block) -> None:
    assert problems([block]) == []
    assert slack.message_refusal("x", [block]) == ""


@pytest.mark.parametrize(("block", "said"), BEYOND, ids=[said for _, said in BEYOND])
def test_violations_are_named(block: Block, said: str) -> None:
    assert said in " ".join(problems([block]))
    assert slack.message_refusal("x", [block]) == "invalid_blocks", "the stand-in says so too"


def test_rejects_too_many_blocks_and_duplicate_ids() -> None:
    assert "51 blocks" in problems([section("x")] * 51)[0]
    assert problems([section("x") | {"block_id": "1"}] * 2) == ["a block_id twice"]
    for blocks in ([section("x")] * 51, [section("x") | {"block_id": "1"}] * 2):
        assert slack.message_refusal("x", blocks) == "invalid_blocks"


def test_messages_have_a_total_length_limit() -> None:
    assert message_problems([section("x" * 3000)] * 4) == []
    assert slack.message_refusal("x", [section("x" * 3000)] * 4) == ""
    assert slack.message_refusal("x", [section("x" * 3000)] * 5) == "msg_blocks_too_long"
    assert slack.message_refusal("x", [table([["x" * 100] * 20] * 6)]) == "invalid_blocks"
    assert slack.message_refusal("", [section("x")]) == "no_text"
    assert "13000 are the most" in message_problems([section("x" * 3000)] * 5)[0]
    assert message_problems([table([["x" * 100] * 20] * 5)]) == []
    assert "10000 are the most" in message_problems([table([["x" * 100] * 20] * 6)])[0]


def test_rejects_forms_beyond_the_limits() -> None:
    view = form_view(
        FormContext("C0INC", "1.2", "de", "n" * 63, "p" * 253), reason="r" * 1024, incident="i" * 63
    )
    assert view_problems(view) == []
    assert slack.view_refusal(view) == ""
    for broken in (
        view | {"title": raw("x" * 25)},
        view | {"private_metadata": "x" * 3001},
        view | {"blocks": [view["blocks"][0] | {"block_id": "x" * 256}]},
        {key: value for key, value in view.items() if key != "submit"},
    ):
        assert slack.view_refusal(broken) == "invalid_arguments"
    assert view_problems(view | {"title": raw("x" * 25)}) != []
    assert view_problems(view | {"private_metadata": "x" * 3001}) != []
    broken = view["blocks"][0] | {
        "element": {"type": "external_select", "action_id": "", "placeholder": raw("x" * 151)}
    }
    assert len(view_problems({"blocks": [broken]})) == 2


def test_rejects_options_beyond_the_limits() -> None:
    assert option_problems([{"text": raw("x" * 75), "value": "v"}]) == []
    assert "101 options" in option_problems([{"text": raw("x"), "value": "v"}] * 101)
    assert len(option_problems([{"text": raw("x" * 76), "value": "v" * 151}])) == 2
    assert not slack.options_refused([{"text": raw("x" * 75), "value": "v" * 150}] * 100)
    for text, value, count in (("x" * 76, "v", 1), ("x", "v" * 151, 1), ("x", "v", 101)):
        assert slack.options_refused([{"text": raw(text), "value": value}] * count)


def test_only_user_ids_become_mentions() -> None:
    assert mention("By", "U0ALICE") == {"type": "mrkdwn", "text": "By <@U0ALICE>"}
    assert mention("By", "x> <!here>")["type"] == "plain_text"
    assert user("nobody") == {"type": "text", "text": "nobody"}


def test_message_text_is_escaped() -> None:
    assert Message("<!channel> & co", []).payload()["text"] == "&lt;!channel&gt; &amp; co"
