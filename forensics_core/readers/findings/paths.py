"""Rules by path: what runs, or lets somebody in, because of where it lies.

A pattern is a path in which `*` is any part of a name, `**` anything, and `{a,b}` a choice. Behind
a `**` in front there may only be one at the very end: or else a long path takes time squared.

Sources: hier(7), cron(8), systemd.unit(5), sshd_config(5), pam.d(5), udev(7), sudoers(5), ld.so(8),
githooks(5), apt.conf(5), apk(8), modprobe.d(5), https://docs.python.org/3/library/site.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from forensics_core.readers.findings.finding import Rule


class PathRule(NamedTuple):
    """What lies at some paths."""

    rule: Rule
    of: str
    """Who reads it."""
    patterns: tuple[str, ...]


_LIBRARIES = "/{lib,lib32,lib64,usr/lib,usr/lib32,usr/lib64,usr/local/lib,usr/local/lib64}/**"
_SYSTEMD = "/{etc,etc/xdg,run,usr/lib,lib,usr/local/lib}/systemd"
_GIT_HOOKS = (
    "{applypatch-msg,commit-msg,fsmonitor-watchman,post-applypatch,post-checkout,post-commit,"
    "post-index-change,post-merge,post-receive,post-rewrite,post-update,pre-applypatch,pre-auto-gc,"
    "pre-commit,pre-merge-commit,pre-push,pre-rebase,pre-receive,prepare-commit-msg,proc-receive,"
    "push-to-checkout,reference-transaction,sendemail-validate,update}"
)
"""Without the samples that come with each clone."""

PATH_RULES: tuple[PathRule, ...] = (
    PathRule(Rule.PRELOAD, "the dynamic linker", ("/etc/ld.so.preload",)),
    PathRule(
        Rule.AT_JOB, "at",
        ("/var/spool/{at,atjobs}/**", "/var/spool/cron/{atjobs,atspool}/**"),
    ),
    PathRule(
        Rule.CRON, "cron",
        (
            *("/etc/{crontab,anacrontab}", "/etc/cron.*/**", "/var/spool/{cron,fcron}/**"),
            *("/etc/crontabs/**", "/etc/periodic/**", "/var/spool/crontabs/**", "/var/cron/**"),
        ),
    ),
    PathRule(
        Rule.TIMER, "systemd",
        (
            f"{_SYSTEMD}/{{system,user}}/**.timer",
            "/**/{.config,.local/share}/systemd/user/*.timer",
        ),
    ),
    PathRule(
        Rule.SERVICE, "systemd",
        (
            f"{_SYSTEMD}/{{system,user}}/**",
            f"{_SYSTEMD}/{{system,user}}-{{generators,preset,shutdown,sleep}}/**",
            f"{_SYSTEMD}/{{system,user}}-environment-generators/**",
            "/**/{.config,.local/share}/systemd/user/**",
        ),
    ),
    PathRule(
        Rule.SERVICE, "init, or what stands in for it",
        (
            *("/etc/init.d/**", "/etc/init/**", "/etc/runlevels/**", "/etc/runit/**", "/etc/s6**"),
            *("/etc/service/*", "/etc/{sv,service}/*/{run,finish,check,log/run}", "/etc/inittab"),
            *("/etc/{services.d,cont-init.d}/**", "/etc/supervisord.conf", "/etc/supervisor/**"),
            *("/etc/supervisor.d/**", "/etc/monit**", "/etc/inetd.conf", "/etc/xinetd.d/**"),
            *("/etc/{dbus-1,dinit.d}/**", "/usr/share/dbus-1/{system-services,services}/**"),
        ),
    ),
    PathRule(
        Rule.BOOT_SCRIPT, "init",
        ("/etc/rc.{local,conf}", "/etc/rc*.d/**", "/etc/{local,boot}.d/**", "/etc/rc.local.d/**"),
    ),
    PathRule(
        Rule.AUTHORIZED_KEYS, "an SSH server",
        (
            *("/**.ssh/{authorized_keys,authorized_keys2}", "/etc/ssh/authorized_keys**"),
            "/etc/dropbear/authorized_keys",
        ),
    ),
    PathRule(
        Rule.SSH_SETTINGS, "SSH, or its kin",
        (
            *("/etc/ssh/{sshd_config,ssh_config,sshrc,shosts.equiv}", "/etc/hosts.equiv"),
            *("/etc/ssh/{sshd_config,ssh_config}.d/**", "/etc/{default,conf.d,config}/dropbear"),
            *("/**.ssh/{rc,config,environment}", "/**/.{rhosts,shosts}"),
        ),
    ),
    PathRule(
        Rule.SHELL_PROFILE, "a shell, or a login",
        (
            *("/etc/{profile,bash.bashrc,bashrc,csh.cshrc,csh.login,ksh.kshrc,mkshrc,environment}",),
            *("/etc/{zshenv,zprofile,zshrc,zlogin}", "/etc/security/pam_env.conf"),
            "/etc/{profile.d,bash_completion.d,environment.d,zsh,fish}/**",
            "/**/.{bashrc,bash_profile,bash_login,bash_logout,bash_aliases,profile,ashrc,shinit}",
            "/**/.{zshrc,zshenv,zprofile,zlogin,zlogout,kshrc,mkshrc,cshrc,tcshrc,login,logout}",
            *("/**/.{pam_environment,xprofile,xsessionrc}", "/**.config/environment.d/**"),
            *("/**.config/fish/config.fish", "/**.config/fish/conf.d/**"),
        ),
    ),
    PathRule(
        Rule.AUTOSTART, "a desktop session",
        (
            *("/etc/xdg/autostart/**", "/usr/share/{autostart,gnome/autostart}/**"),
            *("/**.config/{autostart,autostart-scripts}/**", "/**/.{xinitrc,xsession}"),
        ),
    ),
    PathRule(Rule.UDEV, "udev", ("/{etc,run,lib,usr/lib}/udev/rules.d/**",)),
    PathRule(Rule.EVENT_HOOK, "git", (f"/**.git/hooks/{_GIT_HOOKS}",)),
    PathRule(
        Rule.EVENT_HOOK, "git, in what is cloned",
        (f"/usr/share/git-core/templates/hooks/{_GIT_HOOKS}",),
    ),
    PathRule(
        Rule.EVENT_HOOK, "login, as the message of the day", ("/etc/{update-motd.d,motd.d}/**",)
    ),
    PathRule(Rule.EVENT_HOOK, "logrotate", ("/etc/logrotate.conf", "/etc/logrotate.d/**")),
    PathRule(
        Rule.EVENT_HOOK, "the kernel, by binfmt_misc",
        ("/{etc,run,usr/lib}/binfmt.d/**", "/var/lib/binfmts/**", "/usr/share/binfmts/**"),
    ),
    PathRule(
        Rule.EVENT_HOOK, "what sets up the network",
        (
            *("/etc/network/if-*.d/**", "/etc/NetworkManager/dispatcher.d/**", "/etc/udhcpc/**"),
            *("/etc/dhcp/dhclient-*-hooks.d/**", "/etc/ppp/ip-*.d/**", "/etc/acpi/**"),
            *("/{etc,usr/lib}/networkd-dispatcher/**", "/usr/share/udhcpc/**"),
        ),
    ),
    PathRule(Rule.EVENT_HOOK, "incron", ("/etc/incron.d/**", "/var/spool/incron/**")),
    PathRule(
        Rule.EVENT_HOOK, "an interpreter, when it starts",
        ("/**/sitecustomize.pl", "/**/.{user.ini,pythonrc,pythonrc.py,perldb}"),
    ),
    PathRule(
        Rule.PYTHON_STARTUP, "Python, when it starts",
        (
            "/**{site,dist}-packages/*.pth",
            "/**/{sitecustomize,usercustomize}.{py,so}",
            "/**/{sitecustomize,usercustomize}/__init__.py",
        ),
    ),
    PathRule(
        Rule.PACKAGE_HOOK, "a package manager",
        (
            *("/etc/apt/apt.conf", "/etc/apt/apt.conf.d/**", "/etc/dpkg/dpkg.cfg"),
            *("/etc/dpkg/dpkg.cfg.d/**", "/etc/apk/commit_hooks.d/**", "/etc/rpm/macros**"),
            *("/etc/{yum,dnf}/{pluginconf.d,plugins}/**", "/usr/lib/yum-plugins/*.py"),
            *("/**-packages/dnf-plugins/*.py", "/etc/pacman.d/hooks/**"),
            *("/usr/share/libalpm/hooks/**", "/{etc/kernel,etc/initramfs-tools}/**"),
        ),
    ),
    PathRule(
        Rule.PAM, "PAM",
        ("/etc/pam.conf", "/etc/pam.d/**", f"{_LIBRARIES}security/pam_*.so"),
    ),
    PathRule(
        Rule.NAME_SERVICE, "whoever looks up a user or a host",
        ("/etc/nsswitch.conf", f"{_LIBRARIES}libnss_*.so*"),
    ),
    PathRule(
        Rule.SUDO, "sudo, or its kin",
        (
            *("/etc/sudoers", "/usr/local/etc/sudoers", "/etc/sudoers.d/**", "/etc/doas.conf"),
            *("/usr/local/etc/sudoers.d/**", "/etc/doas.d/**", "/etc/polkit-1/**"),
            "/usr/share/polkit-1/rules.d/**",
        ),
    ),
    PathRule(
        Rule.LIBRARY_PATH, "the dynamic linker",
        ("/etc/ld.so.conf", "/etc/ld.so.conf.d/**", "/etc/ld-musl-*.path"),
    ),
    PathRule(
        Rule.MODULE_SETTINGS, "what loads modules into the kernel",
        (
            *("/etc/{modules,modprobe.conf}", "/{lib,usr/lib}/modules/**.ko*"),
            "/{etc,run,lib,usr/lib}/{modprobe.d,modules-load.d}/**",
        ),
    ),
)  # fmt: skip
"""Of a path the first counts."""

_HISTORIES = (
    "/**/.*_history",
    "/**/.{histfile,history,zhistory,lesshst,dbshell,viminfo}",
    "/**/fish_history",
)
"""Where shells, interpreters and clients of databases keep what somebody typed."""
_WORD = re.compile(r"\*\*|\*|\{[^}]*\}|[^*{]+")
_MEANINGS = {"**": ".*", "*": "[^/]{0,1020}"}
"""A name has 255 bytes at most, each of which can be spelled in four characters."""


def compiled(patterns: Iterable[str]) -> re.Pattern[str]:
    """Compile what matches the whole of a path that one of the patterns is of.

    A name may hold line ends, too.
    """
    return re.compile("|".join(_regex(pattern) for pattern in patterns), re.DOTALL)


def _regex(pattern: str) -> str:
    # `/**/x` is `/x` too.
    begin = "/(?:.*/)?" if pattern.startswith("/**/") else ""
    words = _WORD.findall(pattern.removeprefix("/**/") if begin else pattern)
    return begin + "".join(_meaning(word) for word in words)


def _meaning(word: str) -> str:
    if word.startswith("{"):
        return f"(?:{'|'.join(re.escape(each) for each in word[1:-1].split(','))})"
    return _MEANINGS.get(word) or re.escape(word)


_COMPILED = tuple((each, compiled(each.patterns)) for each in PATH_RULES)
_HISTORY = compiled(_HISTORIES)


def rule_of(path: str) -> PathRule | None:
    """Return what lies at a path; None where nothing does that a rule is about."""
    return next((each for each, pattern in _COMPILED if pattern.fullmatch(path)), None)


def is_history(path: str) -> bool:
    """Whether somebody's commands are kept there."""
    return _HISTORY.fullmatch(path) is not None
