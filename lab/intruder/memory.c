/* Traces that only a process holds: open and mapped files, memory, queues. */

#define _GNU_SOURCE
#include "intruder.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int deleted(char *path, const char *content)
{
    make_parents(path);
    int made = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    check(made, "open");
    write_whole(made, content);
    check(unlink(path), "unlink");
    return made;
}

static int nameless(const char *folder, const char *content)
{
    int made = open(folder, O_RDWR | O_TMPFILE, 0600);
    check(made, "open");
    write_whole(made, content);
    return made;
}

static void deleted_file(char **a) /* PATH CONTENT */
{
    deleted(a[0], a[1]);
}

static void nameless_file(char **a) /* DIRECTORY CONTENT */
{
    struct stat made;
    check(fstat(nameless(a[0], a[1]), &made), "stat");
    tell(made.st_ino);
}

static void mapped(int file, int protection)
{
    check(ftruncate(file, PAGE), "truncate");
    volatile char *page = mmap(NULL, PAGE, protection, MAP_SHARED, file, 0);
    check(page == MAP_FAILED ? -1 : 0, "mmap");
    (void)page[0];
    close(file);
}

static void deleted_library(char **a) /* PATH CONTENT: of which only a mapping is left */
{
    mapped(deleted(a[0], a[1]), PROT_READ | PROT_EXEC);
}

static void deleted_shared(char **a) /* PATH CONTENT */
{
    mapped(deleted(a[0], a[1]), PROT_READ | PROT_WRITE);
}

static void memory_file(char **a) /* NAME CONTENT */
{
    int made = memfd_create(a[0], 0);
    check(made, "memfd_create");
    write_whole(made, a[1]);
}

static void segment(char **a) /* KEY CONTENT */
{
    int made = shmget(strtoul(a[0], NULL, 10), PAGE, IPC_CREAT | IPC_EXCL | 0600);
    check(made, "shmget");
    char *at = shmat(made, NULL, 0);
    check(at == (char *)-1 ? -1 : 0, "shmat");
    strcpy(at, a[1]);
    tell(made);
}

static void message(char **a) /* KEY CONTENT */
{
    struct { long type; char text[64]; } sent = {1, ""};
    int queue = msgget(strtoul(a[0], NULL, 10), IPC_CREAT | IPC_EXCL | 0600);
    check(queue, "msgget");
    strncpy(sent.text, a[1], sizeof sent.text - 1);
    check(msgsnd(queue, &sent, strlen(sent.text), 0), "msgsnd");
    explicit_bzero(&sent, sizeof sent);
}

static void posix_message(char **a) /* NAME CONTENT */
{
    struct mq_attr limits = {.mq_maxmsg = 2, .mq_msgsize = 64};
    mqd_t queue = mq_open(a[0], O_RDWR | O_CREAT, 0600, &limits);
    check(queue, "mq_open");
    check(mq_send(queue, a[1], strlen(a[1]), 0), "mq_send");
}

static void heap(char **a) /* CONTENT */
{
    char *kept = malloc(1024);
    strcpy(kept, a[0]);
    __asm__ volatile("" : : "r"(kept) : "memory");
}

static char *new_page(int protection, int flags, int file)
{
    char *page = mmap(NULL, PAGE, protection, flags, file, 0);
    check(page == MAP_FAILED ? -1 : 0, "mmap");
    return page;
}

static void code(char **a) /* CONTENT: in memory that is writable and executable */
{
    strcpy(new_page(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1), a[0]);
}

static void shared(char **a) /* CONTENT: in memory that children would share */
{
    strcpy(new_page(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1), a[0]);
}

static void undumpable(char **a) /* CONTENT: that is in no core dump */
{
    char *page = new_page(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    check(madvise(page, PAGE, MADV_DONTDUMP), "madvise");
    check(prctl(PR_SET_DUMPABLE, 0), "prctl");
    strcpy(page, a[0]);
}

static void patched(char **a) /* PATH CONTENT: the file stays as it is */
{
    int file = open(a[0], O_RDONLY | O_CLOEXEC);
    check(file, "open");
    strcpy(new_page(PROT_READ | PROT_WRITE, MAP_PRIVATE, file), a[1]);
    close(file);
}

static void secret(char **a) /* CONTENT: where not even the kernel reads */
{
    int file = syscall(SYS_memfd_secret, O_CLOEXEC);
    check(file, "memfd_secret");
    check(ftruncate(file, PAGE), "truncate");
    strcpy(new_page(PROT_READ | PROT_WRITE, MAP_SHARED, file), a[0]);
    close(file);
}

/* Start a thread, and wait until it needs its argument no more, which is wiped then. */
static void start_thread(void *(*begin)(void *), char **a)
{
    char *volatile *done = a;
    pthread_t other;
    check(pthread_create(&other, NULL, begin, a) ? -1 : 0, "pthread_create");
    while (*done)
        sched_yield();
}

static void *wait_named(void *name)
{
    prctl(PR_SET_NAME, *(char **)name);
    *(char *volatile *)name = NULL;
    pause();
    return NULL;
}

static void thread(char **a) /* NAME */
{
    start_thread(wait_named, a);
}

/* A thread with open files of its own: the process's list does not show them. */
static void *hold_apart(void *arguments)
{
    char **a = arguments;
    check(unshare(CLONE_FILES), "unshare");
    deleted(a[0], a[1]);
    *(char *volatile *)a = NULL;
    pause();
    return NULL;
}

static void thread_file(char **a) /* PATH CONTENT */
{
    start_thread(hold_apart, a);
}

static void unread_pipe(char **a) /* CONTENT */
{
    int ends[2];
    check(pipe(ends), "pipe");
    write_whole(ends[1], a[0]);
}

static void terminal(char **a) /* CONTENT: written to a terminal that nobody reads */
{
    int screen = posix_openpt(O_RDWR | O_NOCTTY), line;
    char *name;
    check(screen, "openpt");
    check(grantpt(screen) | unlockpt(screen), "unlockpt");
    name = ptsname(screen);
    line = name ? open(name, O_RDWR | O_NOCTTY) : -1;
    check(line, "open");
    write_whole(line, a[0]);
}

static void unread_socket(char **a) /* CONTENT */
{
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
    write_whole(ends[1], a[0]);
}

static void in_flight(char **a) /* DIRECTORY CONTENT: a file that only a socket's queue holds */
{
    int ends[2], sent = nameless(a[0], a[1]);
    char byte = 0, room[CMSG_SPACE(sizeof sent)] = {0};
    struct iovec data = {&byte, 1};
    struct msghdr note = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room,
                          .msg_controllen = sizeof room};
    struct cmsghdr *head = CMSG_FIRSTHDR(&note);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof sent);
    memcpy(CMSG_DATA(head), &sent, sizeof sent);
    check(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), "socketpair");
    check(sendmsg(ends[1], &note, 0), "sendmsg");
    close(sent);
}

static void registered(char **a) /* DIRECTORY CONTENT: a file that only io_uring holds */
{
    struct io_uring_params parameters = {0};
    int ring = syscall(SYS_io_uring_setup, 4, &parameters), kept;
    check(ring, "io_uring_setup");
    kept = nameless(a[0], a[1]);
    check(syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, &kept, 1), "register");
    close(kept);
}

const struct kind memory[] = {
    {"deleted-file", 1, deleted_file}, {"nameless-file", 1, nameless_file},
    {"deleted-library", 1, deleted_library}, {"deleted-shared", 1, deleted_shared},
    {"memory-file", 1, memory_file}, {"segment", 1, segment}, {"lone-segment", 0, segment},
    {"message", 0, message}, {"posix-message", 0, posix_message}, {"heap", 1, heap},
    {"code", 1, code}, {"shared", 1, shared}, {"undumpable", 1, undumpable},
    {"patched", 1, patched}, {"secret", 1, secret}, {"terminal", 1, terminal},
    {"thread", 1, thread}, {"thread-file", 1, thread_file}, {"unread-pipe", 1, unread_pipe},
    {"unread-socket", 1, unread_socket}, {"in-flight", 1, in_flight},
    {"registered", 1, registered}, {NULL, 0, NULL},
};
