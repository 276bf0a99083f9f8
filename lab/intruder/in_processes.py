"""Traces that live as long as a process: programs, open and mapped files, memory, queues."""

from __future__ import annotations

from lab.intruder.on_disk import DATA, LIBRARY
from lab.intruder.trace import MEMORY, Clue, Trace, marker, name, number, words

PROGRAMS, HELD, IN_MEMORY = "programs", "files that only processes hold", "memory"
_NO_MEMORY = r"^memory( of processes)? +Not(Requested|Supported|Permitted) |^memory.* {pid} "
_SHARED, _SECRET = f"{_NO_MEMORY}|/dev/zero", f"{_NO_MEMORY}|secretmem"
_PIPE, _STREAM = r"^unread in pipe:.* process {pid} ", r"^unread in sockets and terminals "
_FILES_OF, _MOUNT_OF = "^files in .* process {pid} ", "^file system of .* process {pid} "


def running() -> list[Trace]:
    """Return programs, and what they are called."""
    secret = marker()
    return [
        _held("deleted-program", "a deleted program", "/tmp/.{name}", PROGRAMS),
        _held("memfd-program", "a program in a memfd", "{name}", PROGRAMS, "memory-program"),
        Trace(
            "environment",
            PROGRAMS,
            "a secret in a process's environment",
            (("environment", "worker", f"AWS_SECRET_ACCESS_KEY={secret}"),),
            words(secret),
        ),
        _called(
            "arguments", "a process that poses as a kernel thread", "[kworker/{}]", "arguments"
        ),
        _called("leaderless", "a process whose first thread has ended", "{}", "leaderless"),
        _called("comm", "a process that renamed itself", "{}", "named"),
        _called("thread", "a thread with a name of its own", "{}", "thread"),
        _called("zombie", "a zombie's name", "{}", "zombie"),
        _called("lost-directory", "a process in a deleted directory", "/tmp/{}", "lost-directory"),
        _called(
            "other-user", "a process in user and PID namespaces of its own", "{}", "other-user"
        ),
        _called("exec", "a running exec session's command", "{}", "exec"),
        _ended(),
        _log(),
    ]


def _called(identity: str, title: str, text: str, kind: str) -> Trace:
    mark = marker()
    return Trace(identity, PROGRAMS, title, ((kind, text.format(mark)),), words(mark))


def _ended() -> Trace:
    mark = marker()
    title = "the command of an exec session that has ended"
    return Trace(
        "exec-ended",
        PROGRAMS,
        title,
        (("exec-ended", mark),),
        words(mark),
        only="docker",
        gap="exec sessions|events of the runtime|runtime's events",
    )


def _log() -> Trace:
    mark = marker()
    step = ("append", "/proc/1/fd/1", f"{mark}\n")
    return Trace("log", PROGRAMS, "a line in the container's log", (step,), words(mark))


def held() -> list[Trace]:
    """Return files that have no name any more, or never had one."""
    return [
        _held(
            "open-deleted", "a deleted file that is open", "/var/tmp/{name}", kind="deleted-file"
        ),
        _held("open-shm", "a deleted file on a tmpfs", "/dev/shm/{name}", kind="deleted-file"),
        _held("open-volume", "a deleted file on a volume", f"{DATA}/{{name}}", kind="deleted-file"),
        _held(
            "thread-file",
            "a deleted file that only a thread has open",
            "/tmp/{name}",
            kind="thread-file",
        ),
        _tmpfile("nameless", "a file that never had a name", "nameless-file", "{number}"),
        _held(
            "library", "a deleted library that is mapped", "/tmp/{name}.so", kind="deleted-library"
        ),
        _held("posix-shm", "POSIX shared memory", "/dev/shm/.{name}", kind="deleted-shared"),
        _held("memfd", "data in a memfd", "{name}", kind="memory-file"),
        _tmpfile("in-flight", "a file on its way through a socket", "in-flight", _FILES_OF),
        _tmpfile("io-uring", "a file that only io_uring holds", "registered", _FILES_OF),
        _apart("unmounted", "a file on an unmounted tmpfs", "unmounted", "/mnt", _MOUNT_OF),
        _apart("never-mounted", "a tmpfs that was never mounted", "never-mounted", "", _MOUNT_OF),
        _apart(
            "other-mounts",
            "a tmpfs in a mount namespace of its own",
            "other-mounts",
            "/media",
            "/media",
        ),
    ]


def _held(
    identity: str, title: str, path: str, group: str = HELD, kind: str = "deleted-program"
) -> Trace:
    called, mark = name(), marker()
    step = (kind, path.format(name=called), mark)
    return Trace(identity, group, title, (step,), words(mark), words(called))


def _tmpfile(identity: str, title: str, kind: str, gap: str) -> Trace:
    mark = marker()
    return Trace(identity, HELD, title, ((kind, "/var/tmp", mark),), words(mark), gap=gap)


def _apart(identity: str, title: str, kind: str, parent: str, gap: str) -> Trace:
    called, mark = name(), marker()
    folder = (parent,) if parent else ()
    return Trace(
        identity, HELD, title, ((kind, *folder, called, mark),), words(mark), words(called), gap
    )


def in_memory() -> list[Trace]:
    """Return what no file holds."""
    return [
        _segment("sysv-shm", "System V shared memory", "segment"),
        _segment("lone-segment", "a segment that nobody has attached", "lone-segment"),
        _queue("sysv-queue", "a message in a System V queue", "message", number()),
        _queue("posix-queue", "a message in a POSIX queue", "posix-message", f"/{name()}"),
        _memory("heap", "a string on the heap", "heap"),
        _memory("code", "code in writable, executable memory", "code"),
        _memory("shared", "memory that children would share", "shared", _SHARED),
        _memory("undumpable", "memory that is kept out of core dumps", "undumpable"),
        _patched(),
        _memory("secret", "memory that not even the kernel reads", "secret", _SECRET),
        _memory("terminal", "bytes unread in a terminal", "terminal", _STREAM),
        _memory("pipe", "bytes unread in a pipe", "unread-pipe", _PIPE),
        _memory("socket-queue", "bytes unread in a socket", "unread-socket", _STREAM),
    ]


def _segment(identity: str, title: str, kind: str) -> Trace:
    key, mark = number(), marker()
    known = (Clue(key), Clue(f"SYSV{int(key):08x}"))
    return Trace(identity, IN_MEMORY, title, ((kind, key, mark),), words(mark), known)


def _queue(identity: str, title: str, kind: str, key: str) -> Trace:
    mark = marker()
    known = words(key.strip("/")) + (words(f"{int(key):08x}") if key.isdigit() else ())
    return Trace(
        identity, IN_MEMORY, title, ((kind, key, mark),), words(mark), known, "^message queue"
    )


def _patched() -> Trace:
    mark = marker()
    steps = (("patched", LIBRARY, mark),)
    title = "a library that is patched in memory only"
    return Trace("patched", IN_MEMORY, title, steps, words(mark), gap=_NO_MEMORY, on_request=MEMORY)


def _memory(identity: str, title: str, kind: str, gap: str = _NO_MEMORY) -> Trace:
    mark = marker()
    request = "" if gap in {_PIPE, _STREAM} else MEMORY
    return Trace(
        identity, IN_MEMORY, title, ((kind, mark),), words(mark), gap=gap, on_request=request
    )
