/* Traces in file systems, and in programs that run though their files are gone. */

#define _GNU_SOURCE
#include "intruder.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

void make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0755);
        *slash = '/';
    }
}

static void file(char **a) /* PATH MODE CONTENT */
{
    make_parents(a[0]);
    int made = open(a[0], O_WRONLY | O_CREAT | O_APPEND, 0644);
    check(made, "open");
    write_whole(made, a[2]);
    check(fchmod(made, strtoul(a[1], NULL, 8)), "chmod");
}

static void append(char **a) /* PATH CONTENT: also to what is no regular file */
{
    int found = open(a[0], O_WRONLY | O_APPEND);
    check(found, "open");
    write_whole(found, a[1]);
}

/* Change bytes of a file, and put its times back. */
static void overwrite(char **a) /* PATH CONTENT */
{
    struct stat before;
    int found = open(a[0], O_WRONLY);
    check(found, "open");
    check(fstat(found, &before), "stat");
    write_whole(found, a[1]);
    struct timespec times[2] = {before.st_atim, before.st_mtim};
    check(futimens(found, times), "utimens");
}

static void stomp(char **a) /* PATH SECONDS */
{
    struct timespec times[2] = {{atol(a[1]), 0}, {atol(a[1]), 0}};
    struct stat after;
    check(utimensat(AT_FDCWD, a[0], times, 0), "utimens");
    check(stat(a[0], &after), "stat");
    tell(after.st_ctime);
}

static void attribute(char **a) /* PATH NAME VALUE */
{
    check(setxattr(a[0], a[1], a[2], strlen(a[2]), 0), "setxattr");
}

static void capability(char **a) /* PATH HEXADECIMAL */
{
    check(setxattr(a[0], "security.capability", a[1], unhex(a[1]), 0), "setxattr");
}

static void immutable(char **a) /* PATH */
{
    int found = open(a[0], O_RDONLY), flags;
    check(found, "open");
    check(ioctl(found, FS_IOC_GETFLAGS, &flags), "getflags");
    flags |= FS_IMMUTABLE_FL;
    check(ioctl(found, FS_IOC_SETFLAGS, &flags), "setflags");
}

static void symbolic(char **a) /* TARGET PATH */
{
    make_parents(a[1]);
    check(symlink(a[0], a[1]), "symlink");
}

static void cut(char **a) /* PATH: what a log said is gone */
{
    check(truncate(a[0], 0), "truncate");
}

static void removal(char **a) /* PATH */
{
    check(unlink(a[0]), "unlink");
}

static void cover(char **a) /* DIRECTORY */
{
    check(mount("tmpfs", a[0], "tmpfs", 0, "size=1m"), "mount");
}

static void bind_over(char **a) /* SOURCE PATH */
{
    check(mount(a[0], a[1], NULL, MS_BIND, NULL), "mount");
}

const struct kind files[] = {
    {"file", 0, file}, {"append", 0, append}, {"overwrite", 0, overwrite}, {"stomp", 0, stomp},
    {"attribute", 0, attribute}, {"capability", 0, capability}, {"immutable", 0, immutable},
    {"symlink", 0, symbolic}, {"cut", 0, cut}, {"remove", 0, removal}, {"cover", 0, cover},
    {"bind", 0, bind_over}, {NULL, 0, NULL},
};

void run(int program, char *name, char *mode, char *environment)
{
    char *arguments[] = {name, mode, NULL}, *variables[] = {environment, NULL};
    execveat(program, "", arguments, variables, AT_EMPTY_PATH);
    fail("execveat");
}

static int own_program(void)
{
    int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    check(program, "open");
    return program;
}

/* Copy this program to `to`, with a few bytes more at its end. */
static void copy_program(int to, const char *more)
{
    static char block[PAGE];
    int from = own_program();
    ssize_t size;
    while ((size = read(from, block, sizeof block)) > 0)
        check(write(to, block, size), "write");
    close(from);
    write_whole(to, more);
}

static void deleted_program(char **a) /* PATH MORE */
{
    make_parents(a[0]);
    int made = open(a[0], O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    check(made, "open");
    copy_program(made, a[1]);
    close(made);
    int program = open(a[0], O_RDONLY | O_CLOEXEC);
    check(program, "open");
    check(unlink(a[0]), "unlink");
    run(program, a[0], "stay", NULL);
}

static void memory_program(char **a) /* NAME MORE */
{
    int made = memfd_create(a[0], MFD_CLOEXEC);
    check(made, "memfd_create");
    copy_program(made, a[1]);
    /* A program that is open for writing cannot be run. */
    char path[64] = "/proc/self/fd/";
    for (int i = made, at = 14; i; i /= 10)
        path[at++] = '0' + i % 10;
    int program = open(path, O_RDONLY | O_CLOEXEC);
    check(program, "open");
    close(made);
    run(program, a[0], "stay", NULL);
}

static void environment(char **a) /* NAME VARIABLE=VALUE */
{
    run(own_program(), a[0], "stay", a[1]);
}

static void arguments(char **a) /* ARGUMENT */
{
    run(own_program(), a[0], "stay", NULL);
}

static void leaderless(char **a) /* ARGUMENT */
{
    run(own_program(), a[0], "leave", NULL);
}

static void named(char **a) /* NAME */
{
    check(prctl(PR_SET_NAME, a[0]), "prctl");
}

static void zombie(char **a) /* NAME */
{
    siginfo_t dead;
    pid_t child = fork();
    check(child, "fork");
    if (child == 0) {
        prctl(PR_SET_NAME, a[0]);
        _exit(0);
    }
    check(waitid(P_PID, child, &dead, WEXITED | WNOWAIT), "waitid");
    tell(child);
}

static void lost_directory(char **a) /* PATH */
{
    check(mkdir(a[0], 0700), "mkdir");
    check(chdir(a[0]), "chdir");
    check(rmdir(a[0]), "rmdir");
}

static void other_user(char **a) /* NAME: in user and PID namespaces of its own */
{
    int program = own_program();
    check(unshare(CLONE_NEWUSER | CLONE_NEWPID), "unshare");
    pid_t child = fork();
    check(child, "fork");
    if (child == 0)
        run(program, a[0], "stay", NULL);
    close(program);
}

const struct kind programs[] = {
    {"deleted-program", 1, deleted_program}, {"memory-program", 1, memory_program},
    {"environment", 1, environment}, {"arguments", 1, arguments}, {"leaderless", 1, leaderless}, {"named", 1, named},
    {"zombie", 1, zombie}, {"lost-directory", 1, lost_directory}, {"other-user", 1, other_user},
    {NULL, 0, NULL},
};
