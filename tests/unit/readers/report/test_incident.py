"""What the report over an incident says where there is little to say."""

from __future__ import annotations

import pytest

from forensics_core.readers.report.incident import IncidentContent, PodReport

PENDING = PodReport("shop/web-0", "Pending")
AWAY = PodReport("shop/web-1", "Complete", location="s3://cases/a/", problem="It is away")
READ = PodReport("shop/web-2", "Complete", location="s3://cases/b/")


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        ([PENDING], "There is nothing yet that rules could have looked at."),
        ([PENDING, AWAY], "There is nothing yet that rules could have looked at."),
        ([AWAY, READ], "No rule found anything: that does not prove that nothing is there."),
    ],
)
def test_no_rule_is_said_to_have_looked_where_nothing_was_read(
    pods: list[PodReport], said: str
) -> None:
    assert [*IncidentContent("INC-7", pods).summary()][-1] == said
