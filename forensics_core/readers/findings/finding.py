"""A finding, and the rules that make them.

A finding says what was seen, never what it means: "is set-user-ID and is not so in the image", not
"a backdoor". Its rule names the technique of MITRE ATT&CK that it can be a trace of.

Source: https://attack.mitre.org/techniques/enterprise/
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Severity(IntEnum):
    """How soon to look; the lowest number first."""

    HIGH = 1
    """Seldom seen in a container that is as it should be."""
    MEDIUM = 2
    LOW = 3
    """Often harmless, and worth knowing."""


class Rule(StrEnum):
    """What was looked for."""

    SETUID_ADDED = "setuid-added"
    CAPABILITY_ADDED = "file-capability-added"
    PRELOAD = "ld-so-preload"
    PRELOAD_ENVIRONMENT = "preload-in-environment"
    CRON = "cron"
    AT_JOB = "at-job"
    TIMER = "timer"
    AUTHORIZED_KEYS = "authorized-keys"
    ROOT_USER = "uid-0-user"
    SUDO = "sudo-rights"
    PAM = "pam"
    SSH_SETTINGS = "ssh-settings"
    NAME_SERVICE = "name-service"
    SERVICE = "service"
    BOOT_SCRIPT = "boot-script"
    SHELL_PROFILE = "shell-profile"
    LIBRARY_PATH = "library-path"
    PYTHON_STARTUP = "python-startup"
    EVENT_HOOK = "event-hook"
    PACKAGE_HOOK = "package-manager-hook"
    UDEV = "udev-rule"
    MODULE_SETTINGS = "kernel-module-settings"
    AUTOSTART = "autostart"
    TIME_PUT_BACK = "time-put-back"
    LOG_EMPTIED = "log-emptied"
    LOG_REMOVED = "log-removed"
    HISTORY_LINKED = "history-linked-away"
    SHELL_HISTORY = "shell-history"
    PROGRAM_CHANGED = "package-file-changed"
    NEW_EXECUTABLE = "new-executable"
    RUNS_NOT_IN_IMAGE = "running-program-not-in-image"
    RUNS_DELETED = "deleted-program-running"
    RUNS_MEMFD = "memfd-program-running"
    HIDDEN = "hidden-process"
    ENTERED = "process-from-outside"
    RAW_SOCKET = "packet-socket"
    OUTGOING = "outgoing-connection"
    LISTENING = "undeclared-listening-socket"
    SECRET = "secret-in-environment"  # noqa: S105 - a rule's name
    HIDDEN_MODULE = "hidden-module"
    LAYER_DIFFERS = "layer-differs-from-image"

    @property
    def severity(self) -> Severity:
        """How soon to look at what it found."""
        return _RULES[self][0]

    @property
    def attack(self) -> str:
        """The technique of ATT&CK: `T1548.001`."""
        return _RULES[self][1]

    @property
    def url(self) -> str:
        """Where ATT&CK describes it."""
        return f"https://attack.mitre.org/techniques/{self.attack.replace('.', '/')}/"

    @property
    def summary(self) -> str:
        """What was seen, in a few words."""
        return _RULES[self][2]

    def several(self, count: int) -> str:
        """Return the same of `count` findings: `2 programs run that are not in the image`."""
        return self.summary if count == 1 else f"{count} {_SEVERAL[self]}"


_RULES: dict[Rule, tuple[Severity, str, str]] = {
    Rule.RUNS_MEMFD: (Severity.HIGH, "T1620", "A program runs that lies in memory only"),
    Rule.HIDDEN: (Severity.HIGH, "T1564", "A process is hidden from those who list processes"),
    Rule.RUNS_DELETED: (Severity.HIGH, "T1070.004", "A program runs whose file was deleted"),
    Rule.RUNS_NOT_IN_IMAGE: (Severity.HIGH, "T1105", "A program runs that is not in the image"),
    Rule.PRELOAD: (Severity.HIGH, "T1574.006", "A library is loaded into every program"),
    Rule.PRELOAD_ENVIRONMENT: (Severity.HIGH, "T1574.006", "A process was started with a preload"),
    Rule.SETUID_ADDED: (Severity.HIGH, "T1548.001", "A program runs with its owner's rights"),
    Rule.CAPABILITY_ADDED: (Severity.HIGH, "T1548", "A program was given capabilities"),
    Rule.ROOT_USER: (Severity.HIGH, "T1136.001", "Another user has the rights of root"),
    Rule.AUTHORIZED_KEYS: (Severity.HIGH, "T1098.004", "SSH keys were added or changed"),
    Rule.CRON: (Severity.HIGH, "T1053.003", "A scheduled job was added or changed"),
    Rule.AT_JOB: (Severity.HIGH, "T1053.002", "A job for later was added or changed"),
    Rule.TIMER: (Severity.HIGH, "T1053.006", "A timer of systemd was added or changed"),
    Rule.SUDO: (Severity.HIGH, "T1548.003", "Who may act as root was changed"),
    Rule.PAM: (Severity.HIGH, "T1556.003", "How users prove who they are was changed"),
    Rule.TIME_PUT_BACK: (Severity.HIGH, "T1070.006", "Other content under the image's own time"),
    Rule.HISTORY_LINKED: (Severity.HIGH, "T1070.003", "A shell's history is not kept"),
    Rule.PROGRAM_CHANGED: (Severity.HIGH, "T1554", "A program or library of the image was changed"),
    Rule.LOG_EMPTIED: (Severity.MEDIUM, "T1070.002", "A log of the image is empty now"),
    Rule.LOG_REMOVED: (Severity.MEDIUM, "T1070.002", "A log of the image was removed"),
    Rule.SERVICE: (Severity.MEDIUM, "T1543.002", "A service was added or changed"),
    Rule.SHELL_PROFILE: (Severity.MEDIUM, "T1546.004", "A shell's start-up file was changed"),
    Rule.SSH_SETTINGS: (Severity.MEDIUM, "T1098.004", "Settings of SSH were added or changed"),
    Rule.NAME_SERVICE: (Severity.MEDIUM, "T1556", "How users and hosts are looked up was changed"),
    Rule.BOOT_SCRIPT: (Severity.MEDIUM, "T1037.004", "A script of the boot was added or changed"),
    Rule.LIBRARY_PATH: (Severity.MEDIUM, "T1574.006", "Where libraries are looked for was changed"),
    Rule.PYTHON_STARTUP: (Severity.MEDIUM, "T1546.018", "Something runs whenever Python starts"),
    Rule.EVENT_HOOK: (Severity.MEDIUM, "T1546", "A program's hook was added or changed"),
    Rule.PACKAGE_HOOK: (
        Severity.MEDIUM, "T1546.016", "A package manager's hook was added or changed",
    ),
    Rule.UDEV: (Severity.MEDIUM, "T1546.017", "A rule for devices was added or changed"),
    Rule.MODULE_SETTINGS: (
        Severity.MEDIUM, "T1547.006", "What modules the kernel loads was changed",
    ),
    Rule.AUTOSTART: (Severity.MEDIUM, "T1547.013", "Something starts with a desktop session"),
    Rule.NEW_EXECUTABLE: (Severity.MEDIUM, "T1105", "An executable file that is not in the image"),
    Rule.ENTERED: (Severity.MEDIUM, "T1609", "A process was started in the container from outside"),
    Rule.RAW_SOCKET: (Severity.MEDIUM, "T1040", "A socket that sees whole packets is open"),
    Rule.OUTGOING: (Severity.MEDIUM, "T1071", "A connection to a public address"),
    Rule.LISTENING: (Severity.LOW, "T1571", "A listening socket that the image does not declare"),
    Rule.SHELL_HISTORY: (Severity.LOW, "T1059.004", "Commands were typed in the container"),
    Rule.SECRET: (Severity.LOW, "T1552", "A secret in a process's environment"),
    Rule.LAYER_DIFFERS: (Severity.HIGH, "T1525", "A layer on the node differs from its image"),
    Rule.HIDDEN_MODULE: (Severity.HIGH, "T1014", "A module of the node's kernel is hidden"),
}  # fmt: skip

_SEVERAL: dict[Rule, str] = {
    Rule.RUNS_MEMFD: "programs run that lie in memory only",
    Rule.HIDDEN: "processes are hidden from those who list processes",
    Rule.RUNS_DELETED: "programs run whose files were deleted",
    Rule.RUNS_NOT_IN_IMAGE: "programs run that are not in the image",
    Rule.PRELOAD: "libraries are loaded into every program",
    Rule.PRELOAD_ENVIRONMENT: "processes were started with a preload",
    Rule.SETUID_ADDED: "programs run with their owner's rights",
    Rule.CAPABILITY_ADDED: "programs were given capabilities",
    Rule.ROOT_USER: "other users have the rights of root",
    Rule.AUTHORIZED_KEYS: "files of SSH keys were added or changed",
    Rule.CRON: "scheduled jobs were added or changed",
    Rule.AT_JOB: "jobs for later were added or changed",
    Rule.TIMER: "timers of systemd were added or changed",
    Rule.SUDO: "files of who may act as root were changed",
    Rule.PAM: "files of how users prove who they are were changed",
    Rule.SSH_SETTINGS: "files of SSH's settings were added or changed",
    Rule.NAME_SERVICE: "files of how users and hosts are looked up were changed",
    Rule.BOOT_SCRIPT: "scripts of the boot were added or changed",
    Rule.LIBRARY_PATH: "files of where libraries are looked for were changed",
    Rule.PYTHON_STARTUP: "files run whenever Python starts",
    Rule.EVENT_HOOK: "programs' hooks were added or changed",
    Rule.PACKAGE_HOOK: "package managers' hooks were added or changed",
    Rule.UDEV: "rules for devices were added or changed",
    Rule.MODULE_SETTINGS: "files of what modules the kernel loads were changed",
    Rule.AUTOSTART: "files start with a desktop session",
    Rule.SHELL_HISTORY: "histories tell of commands that were typed in the container",
    Rule.TIME_PUT_BACK: "files have other content under the image's own time",
    Rule.HISTORY_LINKED: "shells' histories are not kept",
    Rule.PROGRAM_CHANGED: "programs or libraries of the image were changed",
    Rule.LOG_EMPTIED: "logs of the image are empty now",
    Rule.LOG_REMOVED: "logs of the image were removed",
    Rule.SERVICE: "services were added or changed",
    Rule.SHELL_PROFILE: "shells' start-up files were changed",
    Rule.NEW_EXECUTABLE: "executable files that are not in the image",
    Rule.ENTERED: "processes were started in the container from outside",
    Rule.RAW_SOCKET: "network namespaces have sockets open that see whole packets",
    Rule.OUTGOING: "connections to public addresses",
    Rule.LISTENING: "listening sockets that the image does not declare",
    Rule.SECRET: "secrets in processes' environments",
    Rule.LAYER_DIFFERS: "layers on the node differ from their image",
    Rule.HIDDEN_MODULE: "modules of the node's kernel are hidden",
}
"""The summaries again, of more than one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule saw in one container."""

    rule: Rule
    container: str
    subject: str
    """What it is about: a path, or `process 7 /tmp/x`."""
    detail: str
    """What was seen of it."""
    artifact: str
    """The file of the bundle in which that stands."""
    path: str = ""
    """The path in the container, where it is about a file."""
    pid: int = 0
    """The process, as the node numbers it, where it is about one."""

    @property
    def order(self) -> tuple[int, int, str, str]:
        """Sorts the findings that want a look first to the front."""
        return self.rule.severity, list(Rule).index(self.rule), self.container, self.subject
