/* What the parts of the intruder share: see intruder.c. */

#ifndef INTRUDER_H
#define INTRUDER_H

#include <stddef.h>

#define PAGE 4096

struct kind {
    const char *name;
    int stays; /* in a process of its own, which lives until the container ends */
    void (*plant)(char **arguments);
};

extern const struct kind files[], programs[], memory[], sockets[], kernel[];

/* Report that a trace could not be planted, with errno, and end this process. */
void fail(const char *what);
/* Remember a number that the judge has to know, for the report. */
void tell(unsigned long long number);
void check(long result, const char *what);
void write_whole(int file, const char *content);
void make_parents(char *path);
/* Read hexadecimal digits in place; return how many bytes they are. */
size_t unhex(char *digits);
/* Run an open program in place of this process, which waits there for ever ("stay"), or does so in
 * another thread than its first ("leave"). */
void run(int program, char *name, char *mode, char *environment);
/* Send prepared messages, "PROTOCOL:HEXADECIMAL", to the kernel by netlink. */
void send_prepared(char **messages);

#endif
