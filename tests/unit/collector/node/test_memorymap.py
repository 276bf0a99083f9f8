"""A memory map comes home area by area."""

from collector.node.process_row import areas

MAP = (
    b"55d0-55e0 r-xp 00001000 fe:01 42   /bin/odd name\n"
    b"7f00-7f10 rwxp 00000000 00:00 0 \n"
    b"7f10-7f20 rw-p 00000000 00:00 0    [stack]\n"
    b"7f20-7f30 r--p 00000000 00:2a 9    /tmp/a\xff (deleted)\n"
    b"7f40-7f"
)


def test_areas_have_addresses_and_what_they_are_of() -> None:
    code, anonymous, stack, odd = areas(MAP)
    assert code == {
        "start": "55d0",
        "end": "55e0",
        "permissions": "r-xp",
        "offset": "1000",
        "device": "254:1",
        "inode": 42,
        "path": "/bin/odd name",
    }
    assert anonymous == {"start": "7f00", "end": "7f10", "permissions": "rwxp"}
    assert stack["path"] == "[stack]" and "inode" not in stack
    assert odd["device"] == "0:42" and odd["offset"] == "0"
    assert odd["path"] == {"text": "/tmp/a\\xff (deleted)", "base64": "L3RtcC9h/yAoZGVsZXRlZCk="}


def test_no_more_areas_than_are_wanted() -> None:
    assert len(areas(MAP, limit=2)) == 2
