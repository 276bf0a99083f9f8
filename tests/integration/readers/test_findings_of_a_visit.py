"""Every rule sees what it is for in a real container that somebody really broke into."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from collector.local import CaptureOptions, capture_container
from forensics_core.bundle.reader import open_bundle
from forensics_core.readers.findings.find import find
from forensics_core.readers.findings.finding import Rule
from forensics_core.readers.findings.look import Findings
from lab.clean import Clean, clean_container
from lab.docker import DockerEngine

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="processes are read by root only"),
    pytest.mark.timeout(600),  # packages are downloaded
]

SHOP = Clean(
    "exec sleep 86400",
    ("python3", "iproute2"),
    ready="true",
    setup="echo entered | tee /var/log/auth.log > /var/log/wtmp; echo admin=off > /etc/app.conf; "
    "touch -d 2024-01-01 /etc/app.conf",
)
VISIT = """
touch -r /etc/app.conf /tmp/.time; echo admin=yes > /etc/app.conf; touch -r /tmp/.time /etc/app.conf
rm /tmp/.time
: > /var/log/auth.log
rm /var/log/wtmp
ln -s /dev/null /root/.bash_history
echo /tmp/evil.so > /etc/ld.so.preload.new; mv /etc/ld.so.preload.new /etc/ld.so.preload
mkdir -p /etc/cron.d /root/.ssh
echo '* * * * * root /tmp/.x/run' > /etc/cron.d/update
echo 'ssh-ed25519 AAAA intruder' > /root/.ssh/authorized_keys
mkdir -p /etc/crontabs /etc/sudoers.d /etc/ssh /etc/keys /root/.config/systemd/user
echo '* * * * * /tmp/.x/run' > /etc/crontabs/root
echo 'app ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/app
echo 'AuthorizedKeysFile /etc/keys/%u' > /etc/ssh/sshd_config
echo 'ssh-ed25519 AAAA intruder' > /etc/keys/root
echo '[Timer]' > /root/.config/systemd/user/x.timer
echo 'import os' > /usr/lib/python3/dist-packages/x.pth
echo 'show databases' > /root/.mysql_history
cp /usr/bin/cat /dev/shm/root; chmod 4755 /dev/shm/root
echo 'toor:x:0:0::/root:/bin/bash' >> /etc/passwd
echo >> /usr/bin/env
mkdir -p /tmp/.x
cp /usr/bin/cat /tmp/.x/root; chmod 4755 /tmp/.x/root
cp /usr/bin/sleep /tmp/.x/run; cp /usr/bin/sleep /tmp/.x/gone
/tmp/.x/run 86400 > /dev/null 2>&1 &
/tmp/.x/gone 86400 > /dev/null 2>&1 &
until [ "$(readlink /proc/$!/exe)" = /tmp/.x/gone ]; do sleep 0.1; done
rm /tmp/.x/gone
ip address add 8.8.8.8/32 dev lo
python3 - <<'END' > /dev/null 2>&1 &
import os, socket, time
program = os.memfd_create("x", 0)
os.write(program, open("/usr/bin/sleep", "rb").read())
child = os.fork()
if child == 0:
    os.environ["API_TOKEN"] = "not to be shown"
    os.execve(f"/proc/self/fd/{program}", ["kworker", "86400"], os.environ)
server = socket.create_server(("0.0.0.0", 4444))
other = socket.create_server(("8.8.8.8", 443))
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("0.0.0.0", 5353))
client = socket.create_connection(("8.8.8.8", 443))
while not os.readlink(f"/proc/{child}/exe").startswith("/memfd:"):
    time.sleep(0.1)
open("/tmp/.x/ready", "w").close()
time.sleep(86400)
END
worker=$!
until [ -e /tmp/.x/ready ]; do kill -0 $worker; sleep 0.1; done
"""
"""What the intruder does. `ld.so.preload` is written last and by a rename: it breaks nothing."""


@pytest.fixture(scope="module")
def told() -> dict[str, Findings]:
    return {}


@pytest.fixture
async def visit(
    docker: DockerEngine,
    use_env: Callable[[Mapping[str, str]], None],
    tmp_path: Path,
    told: dict[str, Findings],
) -> AsyncIterator[Findings]:
    """The findings of the visit; it is captured once."""
    if not told:
        use_env(docker.env)
        options = {"capabilities": ["NET_ADMIN"], "ExposedPorts": {"80/tcp": {}}}
        async with clean_container(docker, SHOP, tmp_path, **options) as container:
            await docker.exec(container, VISIT)
            named = CaptureOptions(name="bundle", subpath="")
            await capture_container(f"docker://{container}", to=str(tmp_path), options=named)
        async with open_bundle(str(tmp_path / "bundle")) as bundle:
            told["visit"] = await find(bundle)
    yield told["visit"]


@pytest.mark.parametrize(
    ("rule", "subject", "detail"),
    [
        (Rule.NEW_EXECUTABLE, "/tmp/.x/run", "added"),
        (Rule.RUNS_NOT_IN_IMAGE, "run", "started as: /tmp/.x/run 86400"),
        (Rule.RUNS_DELETED, "gone", "/tmp/.x/gone (deleted)"),
        (Rule.RUNS_MEMFD, "", "/memfd:x (deleted), started as: kworker 86400"),
        (Rule.SETUID_ADDED, "/tmp/.x/root", "mode 4755, owner 0"),
        (Rule.PRELOAD, "/etc/ld.so.preload", "added"),
        (Rule.CRON, "/etc/cron.d/update", "added"),
        (Rule.AUTHORIZED_KEYS, "/root/.ssh/authorized_keys", "added"),
        (Rule.ROOT_USER, "/etc/passwd", "the user toor has the uid 0"),
        (Rule.AUTHORIZED_KEYS, "/etc/keys/root", "named in sshd_config"),
        (Rule.CRON, "/etc/crontabs/root", "added"),
        (Rule.SUDO, "/etc/sudoers.d/app", "read by sudo"),
        (Rule.TIMER, "/root/.config/systemd/user/x.timer", "added"),
        (Rule.PYTHON_STARTUP, "/usr/lib/python3/dist-packages/x.pth", "added"),
        (Rule.SHELL_HISTORY, "/root/.mysql_history", "added"),
        (Rule.SETUID_ADDED, "/dev/shm/root", "on a mount"),
        (Rule.NEW_EXECUTABLE, "/dev/shm/root", "on a mount"),
        (Rule.LISTENING, "0.0.0.0:5353", "listens on udp 0.0.0.0:5353"),
        (Rule.LISTENING, "0.0.0.0:4444", "listens on tcp 0.0.0.0:4444"),
        (Rule.OUTGOING, "8.8.8.8", "to tcp 8.8.8.8:443, ESTABLISHED"),
        (Rule.TIME_PUT_BACK, "/etc/app.conf", "2024-01-01T00:00:00"),
        (Rule.LOG_EMPTIED, "/var/log/auth.log", "0 bytes"),
        (Rule.LOG_REMOVED, "/var/log/wtmp", "in the image it is a file of"),
        (Rule.HISTORY_LINKED, "/root/.bash_history", "a symlink to /dev/null"),
        (Rule.PROGRAM_CHANGED, "/usr/bin/env", "changed"),
        (Rule.SECRET, "process", "the variable API_TOKEN"),
    ],
)
async def test_a_rule_sees_what_it_is_for(
    visit: Findings, rule: Rule, subject: str, detail: str
) -> None:
    found = [(each.subject, each.detail) for each in visit.findings if each.rule is rule]
    assert any(subject in one and detail in other for one, other in found), found


async def test_no_rule_claims_more_than_there_was(visit: Findings) -> None:
    assert visit.not_looked_at == []
    assert {each.path for each in visit.findings if each.rule is Rule.NEW_EXECUTABLE} == {
        "/tmp/.x/root",
        "/tmp/.x/run",
        "/dev/shm/root",
    }
    assert not [each for each in visit.findings if "not to be shown" in each.detail]
