/*
 * An intruder's tool: plants one trace for each line of its standard input, and reports on each.
 *
 * A line is ID, KIND and arguments between tabs, in which \n, \t, \\ and \xHH are escapes; the last
 * one is "end". What is to be found later must be in one place only: so lines are read byte by byte,
 * nothing is given as an argument of the command, and what was read is wiped before a process settles.
 */

#define _GNU_SOURCE
#include "intruder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_LINE 65536
#define MAX_ARGUMENTS 32

static char line[MAX_LINE];
static int report = 1; /* where the outcome of a trace is written to */
static unsigned long long told;

void fail(const char *what)
{
    dprintf(report, "error %s: %s\n", what, strerror(errno));
    explicit_bzero(line, sizeof line);
    _exit(1);
}

void tell(unsigned long long number)
{
    told = number;
}

void check(long result, const char *what)
{
    if (result < 0)
        fail(what);
}

void write_whole(int file, const char *content)
{
    size_t size = strlen(content);
    check(write(file, content, size) == (ssize_t)size ? 0 : -1, "write");
}

size_t unhex(char *digits)
{
    size_t size = strlen(digits) / 2;
    for (size_t i = 0; i < size; i++) {
        char pair[3] = {digits[2 * i], digits[2 * i + 1], 0};
        digits[i] = (char)strtoul(pair, NULL, 16);
    }
    return size;
}

static void unescape(char *text)
{
    char *to = text;
    while (*text) {
        if (*text != '\\') {
            *to++ = *text++;
        } else if (text[1] == 'x') {
            char pair[3] = {text[2], text[3], 0};
            *to++ = (char)strtoul(pair, NULL, 16);
            text += 4;
        } else {
            *to++ = text[1] == 'n' ? '\n' : text[1] == 't' ? '\t' : text[1];
            text += 2;
        }
    }
    *to = 0;
}

static int read_line(void)
{
    size_t size = 0;
    while (size < MAX_LINE - 1 && read(0, line + size, 1) == 1) {
        if (line[size] == '\n') {
            line[size] = 0;
            return strcmp(line, "end") != 0;
        }
        size++;
    }
    return 0;
}

/* What was copied last is in these, and they are in a core. */
static void wipe_registers(void)
{
#if defined(__x86_64__)
#define WIPE(number) "vpxorq %zmm" #number ", %zmm" #number ", %zmm" #number "\n\t"
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("vzeroall");
    if (__builtin_cpu_supports("avx512f"))
        __asm__ volatile(WIPE(16) WIPE(17) WIPE(18) WIPE(19) WIPE(20) WIPE(21) WIPE(22) WIPE(23)
                         WIPE(24) WIPE(25) WIPE(26) WIPE(27) WIPE(28) WIPE(29) WIPE(30) WIPE(31));
#endif
}

static void settle(void)
{
    explicit_bzero(line, sizeof line);
    dprintf(report, "ok %d %llu\n", getpid(), told);
    close(report);
    wipe_registers();
    for (;;)
        pause();
}

/* Become a process that nobody waits for, with nothing open that was the planter's. */
static void detach(int outcome)
{
    int null = open("/dev/null", O_RDWR);
    for (int number = 0; number < 3; number++)
        dup2(null, number);
    close(null);
    report = fcntl(outcome, F_DUPFD_CLOEXEC, 100);
    close(outcome);
    setsid();
}

static void plant(const struct kind *kind, char **arguments)
{
    int ends[2];
    char said[256] = "";
    pid_t child;
    ssize_t size;

    check(pipe2(ends, O_CLOEXEC), "pipe");
    child = fork();
    check(child, "fork");
    if (child == 0) {
        close(ends[0]);
        detach(ends[1]);
        kind->plant(arguments);
        if (kind->stays)
            settle();
        dprintf(report, "ok 0 %llu\n", told);
        _exit(0);
    }
    close(ends[1]);
    /* A process that has become another program closes its end without a word. */
    size = read(ends[0], said, sizeof said - 1);
    close(ends[0]);
    if (size > 0)
        dprintf(1, "%s %s", arguments[-2], said);
    else
        dprintf(1, "%s ok %d 0\n", arguments[-2], child);
    if (!kind->stays)
        waitpid(child, NULL, 0);
}

static const struct kind *find(const char *name)
{
    const struct kind *groups[] = {files, programs, memory, sockets, kernel};
    for (size_t group = 0; group < sizeof groups / sizeof *groups; group++)
        for (const struct kind *each = groups[group]; each->name; each++)
            if (!strcmp(each->name, name))
                return each;
    return NULL;
}

static void *wait_for_ever(void *name)
{
    prctl(PR_SET_NAME, name);
    for (;;)
        pause();
    return NULL;
}

/* What programs do that the tool has started as another copy of itself. */
static void stay(char *name, int first_thread)
{
    char *slash = strrchr(name, '/');
    pthread_t other;
    name = slash ? slash + 1 : name;
    if (first_thread)
        wait_for_ever(name);
    pthread_create(&other, NULL, wait_for_ever, name);
    pthread_exit(NULL);
}

int main(int count, char **arguments)
{
    if (count == 2)
        stay(arguments[0], !strcmp(arguments[1], "stay"));
    unlink(arguments[0]);
    while (read_line()) {
        char *words[MAX_ARGUMENTS + 1] = {0};
        char *rest = line;
        for (int i = 0; i < MAX_ARGUMENTS && rest; i++)
            words[i] = strsep(&rest, "\t");
        for (char **word = words; *word; word++)
            unescape(*word);
        const struct kind *kind = words[1] ? find(words[1]) : NULL;
        if (kind)
            plant(kind, words + 2);
        else
            dprintf(1, "%s error no such kind\n", words[0]);
        explicit_bzero(line, sizeof line);
    }
    return 0;
}
