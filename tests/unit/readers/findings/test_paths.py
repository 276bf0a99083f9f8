"""Each place that runs something, or lets somebody in, has its rule."""

from __future__ import annotations

import pytest

from forensics_core.readers.findings.finding import Rule
from forensics_core.readers.findings.paths import PATH_RULES, is_history, rule_of

PLACES = {
    Rule.PRELOAD: "/etc/ld.so.preload",
    Rule.AT_JOB: "/var/spool/at/a0001 /var/spool/cron/atjobs/a0001",
    Rule.CRON: "/etc/crontab /etc/cron.d/x /etc/cron.hourly/x /etc/crontabs/root"
    " /etc/periodic/15min/x /var/spool/cron/root /var/spool/cron/crontabs/root"
    " /var/spool/fcron/x /etc/anacrontab",
    Rule.TIMER: "/etc/systemd/system/x.timer /root/.config/systemd/user/x.timer",
    Rule.SERVICE: "/etc/systemd/system/x.service /usr/lib/systemd/system/x.service.d/y.conf"
    " /etc/systemd/system-generators/x /usr/lib/systemd/user-environment-generators/x"
    " /home/a/.config/systemd/user/x.service /root/.local/share/systemd/user/x.service"
    " /etc/init.d/x /etc/runlevels/default/x /etc/runit/1 /etc/sv/x/run /etc/service/x"
    " /etc/s6-overlay/s6-rc.d/x/run /etc/inittab /etc/supervisor/conf.d/x.conf /etc/inetd.conf",
    Rule.BOOT_SCRIPT: "/etc/rc.local /etc/rc.d/rc.local /etc/rc3.d/S01x /etc/local.d/x.start",
    Rule.AUTHORIZED_KEYS: "/root/.ssh/authorized_keys /home/a/.ssh/authorized_keys2"
    " /var/lib/git/.ssh/authorized_keys /.ssh/authorized_keys /etc/ssh/authorized_keys/root"
    " /etc/dropbear/authorized_keys",
    Rule.SSH_SETTINGS: "/etc/ssh/sshd_config /etc/ssh/sshd_config.d/x.conf /root/.ssh/rc"
    " /root/.ssh/config /etc/hosts.equiv /root/.rhosts /etc/default/dropbear",
    Rule.SHELL_PROFILE: "/etc/profile /etc/profile.d/x.sh /etc/environment /etc/zsh/zshenv"
    " /etc/security/pam_env.conf /.bashrc /root/.zshenv /root/.zprofile /root/.profile"
    " /root/.bash_logout /home/a/.ashrc /home/a/.config/fish/conf.d/x.fish"
    " /home/a/.config/environment.d/x.conf /etc/environment.d/x.conf",
    Rule.AUTOSTART: "/etc/xdg/autostart/x.desktop /home/a/.config/autostart/x.desktop",
    Rule.UDEV: "/etc/udev/rules.d/99-x.rules /lib/udev/rules.d/x.rules /run/udev/rules.d/x.rules",
    Rule.EVENT_HOOK: "/srv/app/.git/hooks/post-merge /srv/x.git/hooks/update"
    " /usr/share/git-core/templates/hooks/pre-push /etc/update-motd.d/99-x /etc/motd.d/x"
    " /etc/logrotate.d/x /etc/binfmt.d/x.conf /etc/network/if-up.d/x /etc/incron.d/x"
    " /etc/NetworkManager/dispatcher.d/x /etc/dhcp/dhclient-exit-hooks.d/x /srv/www/.user.ini"
    " /etc/perl/sitecustomize.pl",
    Rule.PYTHON_STARTUP: "/usr/lib/python3/dist-packages/x.pth /v/lib/python3/site-packages/x.pth"
    " /usr/lib/python3.11/sitecustomize.py /root/.local/lib/python3.11/site-packages/"
    "usercustomize.py /usr/lib/python3/dist-packages/sitecustomize/__init__.py",
    Rule.PACKAGE_HOOK: "/etc/apt/apt.conf.d/99x /etc/dpkg/dpkg.cfg.d/x /etc/apk/commit_hooks.d/x"
    " /etc/yum/pluginconf.d/x.conf /usr/lib/python3.9/site-packages/dnf-plugins/x.py"
    " /etc/pacman.d/hooks/x.hook /etc/kernel/postinst.d/x",
    Rule.PAM: "/etc/pam.d/sshd /lib/x86_64-linux-gnu/security/pam_x.so /lib/security/pam_x.so",
    Rule.NAME_SERVICE: "/etc/nsswitch.conf /lib/x86_64-linux-gnu/libnss_x.so.2 /lib/libnss_x.so.2",
    Rule.SUDO: "/etc/sudoers /etc/sudoers.d/x /etc/doas.conf /etc/polkit-1/rules.d/x.rules",
    Rule.LIBRARY_PATH: "/etc/ld.so.conf /etc/ld.so.conf.d/x.conf /etc/ld-musl-x86_64.path",
    Rule.MODULE_SETTINGS: "/etc/modules /etc/modprobe.d/x.conf /etc/modules-load.d/x.conf"
    " /lib/modules/6.1.0/extra/x.ko.xz /usr/lib/modprobe.d/x.conf",
}


@pytest.mark.parametrize(
    ("path", "rule"), [(path, rule) for rule, paths in PLACES.items() for path in paths.split()]
)
def test_a_place_has_its_rule(path: str, rule: Rule) -> None:
    found = rule_of(path)
    assert found and found.rule is rule


def test_no_rule_of_the_table_is_without_an_example() -> None:
    assert {each.rule for each in PATH_RULES} == PLACES.keys()


@pytest.mark.parametrize(
    "path",
    [
        *("/srv/.git/hooks/pre-push.sample", "/etc/service/x/supervise/status", "/etc/cron.d"),
        *("/usr/lib/python3/__pycache__/sitecustomize.cpython-311.pyc", "/srv/app.pth", "/bashrc"),
        *("/etc/ssh/ssh_host_rsa_key", "/root/.ssh/known_hosts", "/srv/etc/crontab", "/etc/hosts"),
        *("/usr/lib/systemd/libsystemd-shared.so", "/etc/environment.backup", "/etc/passwd"),
    ],
)
def test_what_only_looks_like_one_has_none(path: str) -> None:
    assert rule_of(path) is None


@pytest.mark.parametrize("name", ["bash", "ash", "zsh", "python", "mysql", "psql", "node_repl"])
@pytest.mark.parametrize("folder", ["/", "/root/", "/var/lib/x/"])
def test_every_program_that_keeps_a_history_is_known(name: str, folder: str) -> None:
    assert is_history(f"{folder}.{name}_history")


@pytest.mark.parametrize("path", ["/root/.lesshst", "/root/.local/share/fish/fish_history"])
def test_histories_of_other_names_are_known(path: str) -> None:
    assert is_history(path)


@pytest.mark.parametrize("path", ["/srv/.git/config", "/srv/history", "/root/.hist/x"])
def test_what_is_no_history(path: str) -> None:
    assert not is_history(path)


@pytest.mark.parametrize(
    "piece",
    ["/.config/systemd/user/x", "libnss_", ".ko", "/.ssh", "/x.git/hooks/", "-packages/", "/.x_"],
)
def test_a_path_without_end_is_looked_at_in_no_time(piece: str) -> None:
    """It would be minutes if the time grew with the square of the length."""
    for begin in ("", "/lib/", "/lib/modules/"):
        path = begin + piece * 50_000 + "\n"
        found = rule_of(path)
        assert found is None or found.rule in {Rule.SERVICE, Rule.MODULE_SETTINGS}
        assert not is_history(path)
