"""Lists of hashes in every form that they come in, and what they say of a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from forensics_core.errors import UsageError
from forensics_core.readers.scan import known as module
from forensics_core.readers.scan.hashlists import MAX_DOCUMENT
from forensics_core.readers.scan.known import HashReputation, KnownHashes, read_known

BYTES = b"the file"
DIGESTS = {name: hashlib.new(name, BYTES).hexdigest() for name in ("sha256", "sha1", "md5")}
SHA256, SHA1, MD5 = DIGESTS.values()
OTHER = hashlib.sha256(b"another").hexdigest()


def known_of(folder: Path, content: str | bytes, word: str = "") -> KnownHashes:
    path = folder / "list"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_known([word + str(path)])


def stix(pattern: Any, **more: Any) -> str:
    indicator = {"type": "indicator", "name": "Dropper", "pattern": pattern, **more}
    return json.dumps({"type": "bundle", "objects": [{"type": "identity"}, indicator]})


def misp(*attributes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"Event": {"info": "Campaign", "Attribute": list(attributes), **more}}


GOOD = {
    "sha256sum": f"{OTHER}  /bin/other\n{SHA256} */bin/file\n",
    "sha256sum of an odd name": f"\\{SHA256}  /bin/a\\nb\n",
    "md5sum": f"# made by md5sum\n\n{MD5}  file\n",
    "one a line": f"\ufeff{SHA256.upper()}\r\n",
    "NSRL": '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode"\n'
    f'"{SHA1.upper()}","{MD5.upper()}","{"0" * 8}","a,b.dll",1,2,"358"\n',
    "NSRL with SHA-256": '"sha256","sha1","md5","file_name","package_id"\n'
    f'"{SHA256}","{SHA1}","{MD5}","x",7\n',
}
IOCS = {
    "CSV": f"date,sha256_hash,signature\n2026-08-01,{SHA256},Mirai\n",
    "CSV with any hashes": f"indicator;type\n{MD5};md5\nevil.example;domain\n",
    "CSV without a head": f'# Source: a feed\n"2026-08-01", "{SHA256}", "{MD5}", "exe"\n',
    "a table with tabs": f"value\tcomment\n{SHA1}\tDropper\n",
    "STIX": stix(f"[file:hashes.'SHA-256' = '{SHA256}' OR file:hashes.MD5='{MD5}']"),
    "MISP": json.dumps(misp({"type": "filename|sha256", "value": f"x|{SHA256}"})),
    "MISP, an object": json.dumps(misp(Object=[{"Attribute": [{"type": "md5", "value": MD5}]}])),
    "MISP, an answer": json.dumps({"response": [misp({"type": "sha1", "value": SHA1})]}),
    "MISP, several events": json.dumps([misp({"type": "sha1", "value": SHA1})]),
}


@pytest.mark.parametrize("form", GOOD)
def test_such_a_list_says_known_good(tmp_path: Path, form: str) -> None:
    known = known_of(tmp_path, GOOD[form])
    assert known.verdict(DIGESTS).standing is HashReputation.GOOD
    assert known.verdict({"sha256": "0" * 64}).standing is HashReputation.UNKNOWN


@pytest.mark.parametrize("form", IOCS)
def test_such_a_list_says_ioc(tmp_path: Path, form: str) -> None:
    known = known_of(tmp_path, IOCS[form])
    assert known.verdict(DIGESTS).standing is HashReputation.IOC
    assert known.verdict({"sha256": ""}).standing is HashReputation.UNKNOWN


def test_the_strongest_hash_of_a_row_is_taken(tmp_path: Path) -> None:
    assert known_of(tmp_path, GOOD["NSRL with SHA-256"]).algorithms == {"sha256"}
    assert known_of(tmp_path, GOOD["NSRL"]).algorithms == {"sha1"}
    assert known_of(tmp_path, IOCS["CSV without a head"]).algorithms == {"sha256"}


def test_who_gives_a_list_can_say_what_it_is(tmp_path: Path) -> None:
    assert (
        known_of(tmp_path, GOOD["md5sum"], "ioc=").verdict(DIGESTS).standing is HashReputation.IOC
    )
    assert (
        known_of(tmp_path, IOCS["STIX"], "good=").verdict(DIGESTS).standing is HashReputation.GOOD
    )


def test_an_ioc_stays_one_whatever_another_list_says_and_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "good").write_text(GOOD["sha256sum"])
    (tmp_path / "bad").write_text(IOCS["CSV"])
    for lists in (("good", "bad"), ("bad", "good", "bad")):
        verdict = read_known([str(tmp_path / name) for name in lists]).verdict(DIGESTS)
        assert verdict == module.HashVerdict(HashReputation.IOC, "Mirai")


@pytest.mark.parametrize(
    "document",
    [
        stix(f"[file:hashes.MD5 = '{MD5}']", revoked=True),
        stix(7),
        stix(f"[file:hashes.MD5 = '{MD5[1:]}']"),
        json.dumps(misp({"type": "md5", "value": MD5, "to_ids": False})),
        json.dumps(misp({"type": "md5", "value": MD5, "deleted": True})),
        json.dumps(misp({"type": "domain", "value": MD5})),
        json.dumps({"Event": 7}),
        "[7]",
    ],
)
def test_what_is_not_meant_for_detection_is_no_ioc(tmp_path: Path, document: str) -> None:
    with pytest.raises(UsageError, match="has no hashes"):
        known_of(tmp_path, document)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "not a list of hashes"),
        ("just words\n", "begins with 'just words"),
        (b"\x00\xff" * 50, "not a list of hashes"),
        ("a,b\n1,2\n", "has no hashes"),
        ('a,sha256\n"' + "x\n" * 70_000, "field larger than"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[" + " " * MAX_DOCUMENT + "]", "bytes of JSON"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, content: str | bytes, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        known_of(tmp_path, content)


def test_more_hashes_than_memory_takes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("".join(f"{number:064x}\n" for number in range(3)))
    with pytest.raises(UsageError, match="more than 2 hashes"):
        read_known([str(tmp_path / "list")], most=2)
