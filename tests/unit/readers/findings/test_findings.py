"""Each rule sees what it is for, and nothing in what is as it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forensics_core.bundle.reader import open_bundle
from forensics_core.readers.changes import find_changes
from forensics_core.readers.findings import changes, find
from forensics_core.readers.findings.changes import look_at_layer
from forensics_core.readers.findings.finding import Rule, Severity
from forensics_core.readers.findings.look import MAX_FINDINGS, Findings
from tests.bundles import replace_object
from tests.integration.collector.folder_container import capture_tree
from tests.unit.readers.evidence import (
    DIFF,
    LAYERS,
    NETWORK,
    WEB,
    change,
    process,
    socket,
    write_evidence,
)

ANY = "0.0.0.0"  # noqa: S104 - what the kernel says of a socket that listens everywhere


@pytest.mark.parametrize(
    ("row", "rules"),
    [
        (change("/etc/ld.so.preload"), {Rule.PRELOAD}),
        (change("/etc/cron.d/x"), {Rule.CRON}),
        (change("/var/spool/cron/crontabs/root", "C"), {Rule.CRON}),
        (change("/root/.ssh/authorized_keys"), {Rule.AUTHORIZED_KEYS}),
        (change("/home/a/.ssh/authorized_keys2"), {Rule.AUTHORIZED_KEYS}),
        (change("/etc/systemd/system/x.service"), {Rule.SERVICE}),
        (change("/root/.bashrc", "C"), {Rule.SHELL_PROFILE}),
        (change("/tmp/x", mode="0755"), {Rule.NEW_EXECUTABLE}),
        (change("/tmp/x", mode="4755"), {Rule.NEW_EXECUTABLE, Rule.SETUID_ADDED}),
        (change("/bin/ls", "C", mode="0755"), {Rule.PROGRAM_CHANGED}),
        (change("/usr/lib/x86_64-linux-gnu/libc.so.6", "C"), {Rule.PROGRAM_CHANGED}),
        (change("/x", xattrs={"security.capability": "AQ=="}), {Rule.CAPABILITY_ADDED}),
        (change("/etc/app.conf", "C", notes=["mtimeRestored"]), {Rule.TIME_PUT_BACK}),
        (change("/root/.bash_history", type="symlink", target="/dev/null"), {Rule.HISTORY_LINKED}),
        (change("/.ash_history", type="symlink", target="/dev/null"), {Rule.HISTORY_LINKED}),
        (change("/root/.zsh_history", type="directory"), {Rule.HISTORY_LINKED}),
        (change("/root/.python_history", "C", size=0), {Rule.HISTORY_LINKED}),
        (change("/root/.mysql_history", size=100), {Rule.SHELL_HISTORY}),
        (change("/root/.local/share/fish/fish_history", "C"), {Rule.SHELL_HISTORY}),
        (change("/var/log/wtmp", "C", size=0), {Rule.LOG_EMPTIED}),
        (change("/root/.bash_history", "D"), {Rule.HISTORY_LINKED}),
        (change("/etc/cron.d/x\n"), {Rule.CRON}),
        (
            change("/app/server", "C", mode="0755", notes=["executableChanged"]),
            {Rule.PROGRAM_CHANGED},
        ),
        (change("/opt/x", "C", mode="0755", notes=["newExecutable"]), {Rule.NEW_EXECUTABLE}),
        (
            change("/usr/bin/x", "C", mode="4755", program="elf", notes=["setuid"]),
            {Rule.PROGRAM_CHANGED, Rule.SETUID_ADDED},
        ),
        (change("/usr/bin/x", "C", mode="4755", program="elf"), {Rule.PROGRAM_CHANGED}),
        (change("/etc/s6" + "/" * 200_000 + "\n"), {Rule.SERVICE}),
        (change("/a" + "/.hist" * 100_000 + "\n"), set()),
    ],
)
def test_traces_in_the_file_system(row: dict[str, Any], rules: set[Rule]) -> None:
    assert {rule for rule, _ in changes.look(row)} == rules


@pytest.mark.parametrize(
    "row",
    [
        change("/var/cache/nginx/x"),
        change("/var/log/app.log", size=0),
        change("/var/log/app.log", "C", size=10),
        change("/run/nginx.pid"),
        change("/etc/hosts", notes=["mountPlaceholder"]),
        change("/etc/cron.d", type="directory"),
        change("/etc/cron.d/x", "D"),
        change("/bin/ls", "C", mode="4755", notes=["identical"]),
        change("/x", xattrs={"security.capability": None}),
        change("/x", mode="no mode"),
        {"kind": "A"},
        {"path": 5, "notes": {"a": "b"}, "kind": "A", "xattrs": 7, "mode": 8},
    ],
)
def test_what_is_as_it_should_be_is_no_finding(row: dict[str, Any]) -> None:
    assert not list(changes.look(row))


def test_roots_number_in_every_form_that_the_c_library_reads() -> None:
    numbers = ["0", "00", "+0", " 0", "-0", "\t000", "10", "0x0", "", "0 "]
    passwd = "".join(f"u{place}:x:{number}:0::/:/bin/sh\n" for place, number in enumerate(numbers))
    passwd += "root:x:0:0::/:/bin/sh\na\u2028b:x:1:0\nno list\n"
    assert list(changes.root_users(passwd.encode())) == [f"u{place}" for place in range(6)]


def test_layers_that_are_not_what_the_image_promises() -> None:
    row = {
        "diffId": "sha256:1",
        "result": "differs",
        "differences": [
            {"path": "/bin/sh", "difference": "content", "sha256": {"image": "a", "node": "b"}},
            {
                "path": "/bin/su",
                "difference": "metadata",
                "mode": {"image": "0755", "node": "4755"},
            },
            {"path": "/kit", "difference": "extra", "mode": "nonsense"},
            {"path": "/", "difference": "content"},
            {"path": 7, "difference": []},
            "nonsense",
        ],
    }
    where = ", in the layer sha256:1"
    assert list(look_at_layer(row)) == [
        ("/bin/sh", f"other content than the image's, sha256 b, in the image a{where}"),
        ("/bin/su", f"other details than the image's, mode 4755, in the image 0755{where}"),
        ("/kit", f"not in the image{where}"),
        ("", f"other content than the image's{where}"),
        ("", f"different{where}"),
    ]
    assert not list(look_at_layer({"result": "proven"}))
    blob = {"reason": "BlobDiffers", "message": "The blob\x1b differs", "diffId": ""}
    told = "The blob\\x1b differs, of the layer between image and container"
    assert list(look_at_layer(blob)) == [("", told)]


async def test_a_bundle_whose_layers_differ(tmp_path: Path) -> None:
    difference = {"path": "/bin/sh", "difference": "content"}
    rows: list[dict[str, Any]] = [
        {"diffId": "sha256:1", "result": "differs", "differences": [difference]},
        {"diffId": "sha256:2", "result": "unproven", "reason": "BlobDiffers", "message": "It is x"},
    ]
    folder = await write_evidence(tmp_path / "bundle", [], layers=rows)
    seen = [each for each in (await found(folder)).findings if each.rule is Rule.LAYER_DIFFERS]
    assert [(each.subject, each.path) for each in seen] == [
        ("/bin/sh", "/bin/sh"),
        ("layer sha256:2", ""),
    ]
    assert {each.artifact for each in seen} == {LAYERS}
    async with open_bundle(str(folder)) as bundle:
        assert find_changes(bundle, "web").name == DIFF


async def found(folder: Path, most: int = MAX_FINDINGS) -> Findings:
    async with open_bundle(str(folder)) as bundle:
        return await find.find(bundle, most=most)


async def test_programs_that_the_image_does_not_have(tmp_path: Path) -> None:
    folder = await write_evidence(
        tmp_path / "bundle",
        [change("/tmp/x", mode="0755")],
        [
            process(7, "/tmp/x", "sh", "-c", "id"),
            process(8, "/usr/bin/nc (deleted)"),
            process(9, "/memfd:payload (deleted)"),
            process(10, "/bin/sleep", environ=("LD_PRELOAD=/tmp/e.so", "HOME=/")),
            process(11, "/bin/sh", environ=("HISTFILE=/dev/null", "HISTSIZE=10")),
        ],
    )
    result = await found(folder)
    by_pid = {each.pid: each for each in result.findings if each.pid}
    assert {pid: each.rule for pid, each in by_pid.items()} == {
        7: Rule.RUNS_NOT_IN_IMAGE,
        8: Rule.RUNS_DELETED,
        9: Rule.RUNS_MEMFD,
        10: Rule.PRELOAD_ENVIRONMENT,
        11: Rule.HISTORY_LINKED,
    }
    assert by_pid[7].detail == "/tmp/x, started as: sh -c id"
    severities = [each.rule.severity for each in result.findings]
    assert severities == sorted(severities) and severities[0] is Severity.HIGH


async def test_processes_that_are_hidden_or_came_from_outside(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        process(7, "/bin/x") | {"hiddenBy": ["listing"], "entered": False},
        process(8, "/bin/sh", "sh", "-i") | {"entered": True, "terminal": "pts/0"},
        process(9, "/bin/id") | {"entered": True, "terminal": None, "hiddenBy": "odd"},
    ]
    result = await found(await write_evidence(tmp_path / "bundle", [], rows))
    assert [(each.rule, each.pid, each.detail) for each in result.findings] == [
        (Rule.HIDDEN, 7, "hidden by: listing. Started as: /bin/x"),
        (Rule.ENTERED, 8, "sh -i on pts/0, by process 7 of the node"),
        (Rule.ENTERED, 9, "/bin/id, by process 8 of the node"),
    ]


async def test_a_secret_is_named_once_and_never_shown(tmp_path: Path) -> None:
    variables = ("DB_PASSWORD=hunter2", "TOKEN=", "PATH=/bin", "aws_secret_access_key=abc")
    rows = [process(pid, "/bin/app", environ=variables) for pid in (7, 8)]
    result = await found(await write_evidence(tmp_path / "bundle", [], rows))
    details = {each.detail for each in result.findings}
    assert details == {"the variable DB_PASSWORD", "the variable aws_secret_access_key"}
    assert result.totals["web", Rule.SECRET] == 2


async def test_who_talks_to_whom(tmp_path: Path) -> None:
    folder = await write_evidence(
        tmp_path / "bundle",
        [],
        [],
        [
            socket("LISTEN", (ANY, 80), (ANY, 0), 7),
            socket("LISTEN", ("::", 4444), ("::", 0), 8),
            socket("LISTEN", ("127.0.0.1", 9999), (ANY, 0), 8),
            socket("ESTABLISHED", ("10.0.0.5", 80), ("8.8.8.8", 51234), 7),
            socket("ESTABLISHED", ("10.0.0.5", 51234), ("10.0.0.9", 5432), 7),
            socket("ESTABLISHED", ("::ffff:10.0.0.5", 40000), ("::ffff:8.8.4.4", 443), 9),
            socket("ESTABLISHED", ("10.0.0.5", 80), ("8.8.4.4", 443), 10),
            socket("SYN_SENT", ("10.0.0.5", 80), ("8.8.4.4", 4433), 10),
            socket("ESTABLISHED", ("10.0.0.5", 9999), ("8.8.4.4", 4434), 10),
            socket("CLOSE", (ANY, 80), (ANY, 0), 11) | {"protocol": "udp"},
            socket("CLOSE", (ANY, 53), (ANY, 0), 11) | {"protocol": "udp"},
            socket("CLOSE", ("::", 5353), ("::", 0), 11) | {"protocol": "udp6"},
            socket("ESTABLISHED", ("10.0.0.5", 5000), ("8.8.4.4", 53), 11) | {"protocol": "udp"},
            socket("CLOSE", (ANY, 1), (ANY, 0), 12) | {"protocol": "raw"},
            {"protocol": "tcp", "state": "LISTEN", "local": "nonsense"},
        ],
        inspect={"Config": {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "odd": {}}}},
        packet="sk RefCnt\n0000 3\n",
    )
    seen = {(each.rule, each.detail, each.pid) for each in (await found(folder)).findings}
    assert seen == {
        (Rule.LISTENING, "listens on tcp :::4444", 8),
        (Rule.OUTGOING, "to tcp 8.8.4.4:443, ESTABLISHED", 9),
        (
            Rule.OUTGOING,
            "to tcp 8.8.4.4:443, ESTABLISHED, from port 80, which also listens",
            10,
        ),
        (Rule.OUTGOING, "to tcp 8.8.4.4:4433, SYN_SENT", 10),
        (Rule.OUTGOING, "to tcp 8.8.4.4:4434, ESTABLISHED", 10),
        (Rule.LISTENING, "listens on udp 0.0.0.0:80", 11),
        (Rule.LISTENING, "listens on udp6 :::5353", 11),
        (Rule.OUTGOING, "to udp 8.8.4.4:53, ESTABLISHED", 11),
        (Rule.RAW_SOCKET, "a raw socket is open", 12),
        (Rule.RAW_SOCKET, "open", 0),
    }


async def test_in_the_nodes_network_only_the_containers_own_sockets_are_looked_at(
    tmp_path: Path,
) -> None:
    nodes = socket("ESTABLISHED", ("10.0.0.5", 40001), ("8.8.4.4", 443), 0) | {"pids": []}
    own = socket("ESTABLISHED", ("10.0.0.5", 40000), ("8.8.8.8", 443), 9)
    table = "sk RefCnt Type Proto Iface R Rmem User Inode\n0000 3 3 0003 0 1 0 0 {0}\n\n0 odd\n"
    holder = process(9, "/bin/x") | {"fds": [{"fd": 3, "target": "socket:[4711]"}, {}, "odd"]}
    several: list[tuple[str, dict[str, Any]]] = [("4711", holder), ("4712", holder)]
    found_rules = []
    for number, row in several:
        folder = await write_evidence(
            tmp_path / number, [], [row], [nodes, own], packet=table.format(number), host=True
        )
        found_rules.append({(each.rule, each.pid) for each in (await found(folder)).findings})
    assert found_rules == [{(Rule.OUTGOING, 9), (Rule.RAW_SOCKET, 0)}, {(Rule.OUTGOING, 9)}]


async def test_undeclared_ports_are_none_where_nobody_declares_any(tmp_path: Path) -> None:
    sockets = [socket("LISTEN", (ANY, 4444), (ANY, 0), 9)]
    assert not (await found(await write_evidence(tmp_path / "b", [], [], sockets))).findings


async def test_users_with_the_number_0(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    lines = "root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\nwww:x:33:33::/:/bin/false\nodd\n"
    (tree / "etc/passwd").write_text(lines)
    await capture_tree(tree, str(tmp_path / "bundle"))
    (only,) = (await found(tmp_path / "bundle")).findings
    assert (only.rule, only.path) == (Rule.ROOT_USER, "/etc/passwd")
    assert only.detail == "the user toor has the uid 0"


async def test_keys_at_places_that_the_containers_own_server_names(tmp_path: Path) -> None:
    (tmp_path / "tree/etc/ssh/sshd_config.d").mkdir(parents=True)
    settings = "# AuthorizedKeysFile none\n\tAuthorizedKeysFile=/etc/keys/%u .ssh/%u_keys\n"
    (tmp_path / "tree/etc/ssh/sshd_config").write_text(settings)
    more = 'Match user git\n  TrustedUserCAKeys "/etc/our ca"\n  AuthorizedKeysFile none %u/%U/%k\n'
    (tmp_path / "tree/etc/ssh/sshd_config.d/x.conf").write_text(more)
    paths = ("/etc/keys/root", "/etc/keys/a/b", "/etc/our ca", "/root/.ssh/root_keys", "/a/b/c")
    rows = [change(path) for path in paths]
    folder = await write_evidence(tmp_path / "bundle", rows, tree=tmp_path / "tree")
    result = await found(folder)
    assert {(each.rule, each.path, each.detail) for each in result.findings} == {
        (Rule.AUTHORIZED_KEYS, path, "added, 5 bytes, named in sshd_config")
        for path in ("/etc/keys/root", "/etc/our ca", "/root/.ssh/root_keys")
    }
    assert result.not_looked_at == []


async def test_what_is_on_mounts_is_looked_at_as_well(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    (mounted / "home/.ssh").mkdir(parents=True)
    for name, mode in (("x", 0o755), ("su", 0o4755), ("notes", 0o644), ("home/.ssh/rc", 0o644)):
        (mounted / name).write_text("#!/bin/sh\n")
        (mounted / name).chmod(mode)
    (mounted / ".bash_history").symlink_to("/dev/null")
    folder = await write_evidence(tmp_path / "bundle", [], mounted=mounted)
    seen = (await found(folder)).findings
    assert {(each.rule, each.subject) for each in seen} == {
        (Rule.NEW_EXECUTABLE, "/mnt/x"),
        (Rule.NEW_EXECUTABLE, "/mnt/su"),
        (Rule.SETUID_ADDED, "/mnt/su"),
        (Rule.SSH_SETTINGS, "/mnt/home/.ssh/rc"),
        (Rule.HISTORY_LINKED, "/mnt/.bash_history"),
    }
    assert {each.artifact for each in seen} == {WEB + "mounts.index.jsonl.zst"}
    assert all(each.detail.endswith(", on a mount") for each in seen)


async def test_settings_of_ssh_that_are_too_large_are_named(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "etc/ssh").mkdir(parents=True)
    (tree / "etc/ssh/sshd_config").write_text("#\n" * 600_000)
    await capture_tree(tree, str(tmp_path / "bundle"))
    told = (await found(tmp_path / "bundle")).not_looked_at
    assert "/etc/ssh/sshd_config of 'web' is too large to be read" in told


async def test_a_flood_of_findings_is_counted(tmp_path: Path) -> None:
    rows = [change(f"/tmp/{number}", mode="0755") for number in range(10)]
    result = await found(await write_evidence(tmp_path / "bundle", rows), most=3)
    assert len(result.findings) == 3
    assert result.totals["web", Rule.NEW_EXECUTABLE] == 10


async def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = await write_evidence(tmp_path / "bundle", [change("/etc/ld.so.preload")])
    (folder / NETWORK).write_bytes(b"{}")
    replace_object(folder, DIFF, b'{"changes": [{"kind": "A"}]}\nnot a row\n')
    result = await found(folder)
    assert result.not_genuine
    told = " ".join(result.not_looked_at)
    assert "diff.json is not JSON" in told and "network.json is not" in told
    assert "no index of the files of 'web'" in told


def test_every_rule_has_a_place_in_attack() -> None:
    assert all(rule.url.startswith("https://attack.mitre.org/techniques/T1") for rule in Rule)


def test_the_page_about_the_report_has_every_rule() -> None:
    page = (Path(__file__).parents[4] / "docs/report.md").read_text()
    for rule in Rule:
        assert f"| `{rule}` | {rule.severity.name.lower()} | {rule.attack} | " in page, rule
