"""Exec sessions are told with their commands, of which megabytes cost no megabytes."""

from collector.artifacts.execs import summary


def test_the_summary_of_a_process_has_the_beginning_of_its_command() -> None:
    row = {"cmdline": ["sh", "y" * 10**6], "ppid": 1, "environ": ["A=b"]}
    assert summary(row) == {"cmdline": ["sh"], "ppid": 1, "cmdlineTruncated": True}
    assert summary({"cmdline": ["sh"]}) == {"cmdline": ["sh"]}
    assert summary({"cmdline": {"base64": "x" * 10**6}}) == {
        "cmdline": None,
        "cmdlineTruncated": True,
    }
    assert summary({"cmdline": None}) == {"cmdline": None}
