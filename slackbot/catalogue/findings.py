"""What the operator's findings are called, by rule: of one, and of several.

English is the rules' own; `rule.NAME` is of one finding, `rules.NAME` of `{count}`.
"""

from __future__ import annotations

from forensics_core.readers.findings.finding import Rule

ENGLISH_RULES = {f"rule.{rule}": rule.summary for rule in Rule} | {
    f"rules.{rule}": f"{{count}} {rule.several(2).removeprefix('2 ')}" for rule in Rule
}
_GERMAN: dict[Rule, tuple[str, str]] = {
    Rule.RUNS_MEMFD: (
        "Ein Programm läuft, das nur im Speicher liegt",
        "Programme laufen, die nur im Speicher liegen",
    ),
    Rule.HIDDEN: (
        "Ein Prozess ist vor denen verborgen, die Prozesse auflisten",
        "Prozesse sind vor denen verborgen, die Prozesse auflisten",
    ),
    Rule.RUNS_DELETED: (
        "Ein Programm läuft, dessen Datei gelöscht wurde",
        "Programme laufen, deren Dateien gelöscht wurden",
    ),
    Rule.RUNS_NOT_IN_IMAGE: (
        "Ein Programm läuft, das nicht im Image ist",
        "Programme laufen, die nicht im Image sind",
    ),
    Rule.PRELOAD: (
        "Eine Bibliothek wird in jedes Programm geladen",
        "Bibliotheken werden in jedes Programm geladen",
    ),
    Rule.PRELOAD_ENVIRONMENT: (
        "Ein Prozess wurde mit einer vorgeladenen Bibliothek gestartet",
        "Prozesse wurden mit einer vorgeladenen Bibliothek gestartet",
    ),
    Rule.SETUID_ADDED: (
        "Ein Programm läuft mit den Rechten seines Besitzers",
        "Programme laufen mit den Rechten ihrer Besitzer",
    ),
    Rule.CAPABILITY_ADDED: (
        "Ein Programm bekam Capabilities",
        "Programme bekamen Capabilities",
    ),
    Rule.ROOT_USER: (
        "Noch ein Benutzer hat die Rechte von root",
        "Benutzer mehr haben die Rechte von root",
    ),
    Rule.AUTHORIZED_KEYS: (
        "SSH-Schlüssel kamen hinzu oder wurden geändert",
        "Dateien mit SSH-Schlüsseln kamen hinzu oder wurden geändert",
    ),
    Rule.CRON: (
        "Ein geplanter Auftrag kam hinzu oder wurde geändert",
        "geplante Aufträge kamen hinzu oder wurden geändert",
    ),
    Rule.AT_JOB: (
        "Ein Auftrag für später kam hinzu oder wurde geändert",
        "Aufträge für später kamen hinzu oder wurden geändert",
    ),
    Rule.TIMER: (
        "Ein Timer von systemd kam hinzu oder wurde geändert",
        "Timer von systemd kamen hinzu oder wurden geändert",
    ),
    Rule.SUDO: (
        "Wer als root handeln darf, wurde geändert",
        "Dateien darüber, wer als root handeln darf, wurden geändert",
    ),
    Rule.PAM: (
        "Womit Benutzer sich ausweisen, wurde geändert",
        "Dateien darüber, womit Benutzer sich ausweisen, wurden geändert",
    ),
    Rule.TIME_PUT_BACK: (
        "Anderer Inhalt unter der Zeit aus dem Image",
        "Dateien haben anderen Inhalt unter der Zeit aus dem Image",
    ),
    Rule.HISTORY_LINKED: (
        "Was in einer Shell eingegeben wird, wird nicht aufgehoben",
        "Male wird nicht aufgehoben, was in einer Shell eingegeben wird",
    ),
    Rule.PROGRAM_CHANGED: (
        "Ein Programm oder eine Bibliothek des Image wurde geändert",
        "Programme oder Bibliotheken des Image wurden geändert",
    ),
    Rule.LOG_EMPTIED: (
        "Ein Log des Image ist jetzt leer",
        "Logs des Image sind jetzt leer",
    ),
    Rule.LOG_REMOVED: (
        "Ein Log des Image wurde gelöscht",
        "Logs des Image wurden gelöscht",
    ),
    Rule.SERVICE: (
        "Ein Dienst kam hinzu oder wurde geändert",
        "Dienste kamen hinzu oder wurden geändert",
    ),
    Rule.SHELL_PROFILE: (
        "Die Startdatei einer Shell wurde geändert",
        "Startdateien von Shells wurden geändert",
    ),
    Rule.SSH_SETTINGS: (
        "Einstellungen von SSH kamen hinzu oder wurden geändert",
        "Dateien mit Einstellungen von SSH kamen hinzu oder wurden geändert",
    ),
    Rule.NAME_SERVICE: (
        "Wo Benutzer und Rechner nachgeschlagen werden, wurde geändert",
        "Dateien darüber, wo Benutzer und Rechner nachgeschlagen werden, wurden geändert",
    ),
    Rule.BOOT_SCRIPT: (
        "Ein Skript des Systemstarts kam hinzu oder wurde geändert",
        "Skripte des Systemstarts kamen hinzu oder wurden geändert",
    ),
    Rule.LIBRARY_PATH: (
        "Wo Bibliotheken gesucht werden, wurde geändert",
        "Dateien darüber, wo Bibliotheken gesucht werden, wurden geändert",
    ),
    Rule.PYTHON_STARTUP: (
        "Etwas läuft bei jedem Start von Python",
        "Dateien laufen bei jedem Start von Python",
    ),
    Rule.EVENT_HOOK: (
        "Ein Hook eines Programms kam hinzu oder wurde geändert",
        "Hooks von Programmen kamen hinzu oder wurden geändert",
    ),
    Rule.PACKAGE_HOOK: (
        "Ein Hook eines Paketmanagers kam hinzu oder wurde geändert",
        "Hooks von Paketmanagern kamen hinzu oder wurden geändert",
    ),
    Rule.UDEV: (
        "Eine Regel für Geräte kam hinzu oder wurde geändert",
        "Regeln für Geräte kamen hinzu oder wurden geändert",
    ),
    Rule.MODULE_SETTINGS: (
        "Welche Module der Kernel lädt, wurde geändert",
        "Dateien darüber, welche Module der Kernel lädt, wurden geändert",
    ),
    Rule.AUTOSTART: (
        "Etwas startet mit einer grafischen Sitzung",
        "Dateien starten mit einer grafischen Sitzung",
    ),
    Rule.NEW_EXECUTABLE: (
        "Eine ausführbare Datei, die nicht im Image ist",
        "ausführbare Dateien, die nicht im Image sind",
    ),
    Rule.ENTERED: (
        "Ein Prozess wurde von außen im Container gestartet",
        "Prozesse wurden von außen im Container gestartet",
    ),
    Rule.RAW_SOCKET: (
        "Ein Socket ist offen, der ganze Pakete sieht",
        "Netze haben offene Sockets, die ganze Pakete sehen",
    ),
    Rule.OUTGOING: (
        "Eine Verbindung zu einer öffentlichen Adresse",
        "Verbindungen zu öffentlichen Adressen",
    ),
    Rule.LISTENING: (
        "Ein Socket lauscht, von dem das Image nichts sagt",
        "Sockets lauschen, von denen das Image nichts sagt",
    ),
    Rule.SHELL_HISTORY: (
        "Im Container wurden Befehle eingegeben",
        "Dateien zeigen, dass im Container Befehle eingegeben wurden",
    ),
    Rule.SECRET: (
        "Ein Geheimnis in der Umgebung eines Prozesses",
        "Geheimnisse in den Umgebungen von Prozessen",
    ),
    Rule.LAYER_DIFFERS: (
        "Eine Schicht auf dem Node ist anders als im Image",
        "Schichten auf dem Node sind anders als im Image",
    ),
    Rule.HIDDEN_MODULE: (
        "Ein Modul des Kernels des Node ist verborgen",
        "Module des Kernels des Node sind verborgen",
    ),
}
GERMAN_RULES = {f"rule.{rule}": one for rule, (one, _) in _GERMAN.items()} | {
    f"rules.{rule}": f"{{count}} {several}" for rule, (_, several) in _GERMAN.items()
}
