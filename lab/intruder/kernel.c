/* Traces in the kernel's tables: sockets, mounts and namespaces of its own, rules, maps, keys. */

#define _GNU_SOURCE
#include "intruder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* sys/mount.h contradicts linux/mount.h. */
extern int mount(const char *, const char *, const char *, unsigned long, const void *);
extern int umount2(const char *, int);
#define DETACH 2

static struct sockaddr_in address(char **a)
{
    struct sockaddr_in made = {.sin_family = AF_INET, .sin_port = htons(atoi(a[1]))};
    check(inet_pton(AF_INET, a[0], &made.sin_addr) - 1, "address");
    return made;
}

static void tell_inode(int file)
{
    struct stat made;
    check(fstat(file, &made), "stat");
    tell(made.st_ino);
}

static int bound(int type, int protocol, char **a)
{
    struct sockaddr_in at = address(a);
    int made = socket(AF_INET, type, protocol);
    check(made, "socket");
    check(bind(made, (struct sockaddr *)&at, sizeof at), "bind");
    tell_inode(made);
    return made;
}

static void tcp(char **a) /* ADDRESS PORT */
{
    check(listen(bound(SOCK_STREAM, 0, a), 1), "listen");
}

static void connected(char **a) /* ADDRESS PORT */
{
    struct sockaddr_in at = address(a);
    int listener = bound(SOCK_STREAM, 0, a), client = socket(AF_INET, SOCK_STREAM, 0);
    check(client, "socket");
    check(listen(listener, 1), "listen");
    check(connect(client, (struct sockaddr *)&at, sizeof at), "connect");
    check(accept(listener, NULL, NULL), "accept");
    close(listener);
    tell_inode(client);
}

static void udp(char **a) /* ADDRESS PORT */
{
    bound(SOCK_DGRAM, 0, a);
}

static void raw(char **a) /* ADDRESS PORT */
{
    bound(SOCK_RAW, 253, a);
}

static void local(char **a) /* NAME: a path, or abstract after '@' */
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t length = strlen(a[0]);
    int made = socket(AF_UNIX, SOCK_STREAM, 0);
    check(made, "socket");
    memcpy(at.sun_path, a[0], length);
    if (*a[0] == '@')
        at.sun_path[0] = 0;
    check(bind(made, (struct sockaddr *)&at, offsetof(struct sockaddr_un, sun_path) + length),
          "bind");
    explicit_bzero(&at, sizeof at);
    check(listen(made, 1), "listen");
    tell_inode(made);
}

static void packet(char **a) /* PROTOCOL */
{
    int sniffer = socket(AF_PACKET, SOCK_RAW, htons(atoi(a[0])));
    check(sniffer, "socket");
    tell_inode(sniffer);
}

static void routing(char **a) /* PORT */
{
    struct sockaddr_nl at = {.nl_family = AF_NETLINK, .nl_pid = strtoul(a[0], NULL, 10)};
    int made = socket(AF_NETLINK, SOCK_RAW, 0);
    check(made, "socket");
    check(bind(made, (struct sockaddr *)&at, sizeof at), "bind");
    tell_inode(made);
}

static void virtual(char **a) /* PORT */
{
    struct sockaddr_vm at = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY,
                             .svm_port = strtoul(a[0], NULL, 10)};
    int made = socket(AF_VSOCK, SOCK_STREAM, 0);
    check(made, "socket");
    check(bind(made, (struct sockaddr *)&at, sizeof at), "bind");
    check(listen(made, 1), "listen");
    tell_inode(made);
}

const struct kind sockets[] = {
    {"tcp", 1, tcp}, {"connected", 1, connected}, {"udp", 1, udp}, {"raw", 1, raw},
    {"unix", 1, local}, {"packet", 1, packet}, {"netlink", 1, routing}, {"vsock", 1, virtual},
    {NULL, 0, NULL},
};

static void send_one(int protocol, const char *message, size_t size)
{
    static char answer[8192];
    struct sockaddr_nl to = {.nl_family = AF_NETLINK};
    struct nlmsghdr *head = (struct nlmsghdr *)answer;
    int channel = socket(AF_NETLINK, SOCK_RAW, protocol);
    check(channel, "socket");
    check(sendto(channel, message, size, 0, (struct sockaddr *)&to, sizeof to), "sendto");
    check(recv(channel, answer, sizeof answer, 0), "recv");
    if (head->nlmsg_type == NLMSG_ERROR) {
        errno = -((struct nlmsgerr *)NLMSG_DATA(head))->error;
        if (errno)
            fail("netlink");
    }
    explicit_bzero(answer, sizeof answer);
    close(channel);
}

void send_prepared(char **messages)
{
    for (; *messages; messages++) {
        char *digits = strchr(*messages, ':') + 1;
        int protocol = atoi(*messages);
        send_one(protocol, digits, unhex(digits));
    }
}

static void rules(char **a) /* MESSAGE... */
{
    send_prepared(a);
}

static void other_network(char **a) /* ADDRESS PORT MESSAGE...: in a namespace of its own */
{
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    check(unshare(CLONE_NEWNET), "unshare");
    int any = socket(AF_INET, SOCK_DGRAM, 0);
    check(ioctl(any, SIOCSIFFLAGS, &loopback), "up");
    close(any);
    send_prepared(a + 2);
    tcp(a);
}

static void write_at(int folder, const char *name, const char *content)
{
    int made = openat(folder, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    check(made, "openat");
    write_whole(made, content);
    close(made);
}

static void other_mounts(char **a) /* DIRECTORY NAME CONTENT: that nobody else sees */
{
    mkdir(a[0], 0755);
    check(unshare(CLONE_NEWNS), "unshare");
    check(mount("", "/", "", 1 << 14 | 1 << 18, NULL), "make private"); /* MS_REC | MS_PRIVATE */
    check(mount("tmpfs", a[0], "tmpfs", 0, "size=1m"), "mount");
    write_at(open(a[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC), a[1], a[2]);
}

static void unmounted(char **a) /* DIRECTORY NAME CONTENT: a process stands in it still */
{
    mkdir(a[0], 0755);
    check(mount("tmpfs", a[0], "tmpfs", 0, "size=1m"), "mount");
    check(chdir(a[0]), "chdir");
    write_at(AT_FDCWD, a[1], a[2]);
    check(umount2(a[0], DETACH), "umount");
}

static void never_mounted(char **a) /* NAME CONTENT: a file system by descriptor only */
{
    int made = syscall(SYS_fsopen, "tmpfs", 0), tree;
    check(made, "fsopen");
    check(syscall(SYS_fsconfig, made, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "fsconfig");
    tree = syscall(SYS_fsmount, made, 0, 0);
    check(tree, "fsmount");
    close(made);
    write_at(tree, a[0], a[1]);
}

static void bpf_map(char **a) /* NAME CONTENT */
{
    union bpf_attr wanted = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 64,
                             .max_entries = 1};
    static char value[64];
    unsigned key = 0;
    strncpy(wanted.map_name, a[0], sizeof wanted.map_name - 1);
    int map = syscall(SYS_bpf, BPF_MAP_CREATE, &wanted, sizeof wanted);
    check(map, "bpf");
    strncpy(value, a[1], sizeof value - 1);
    union bpf_attr update = {.map_fd = map, .key = (unsigned long)&key,
                             .value = (unsigned long)value};
    check(syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &update, sizeof update), "bpf");
    explicit_bzero(value, sizeof value);
}

static void keyring(char **a) /* NAME CONTENT */
{
    check(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL), "keyctl");
    check(syscall(SYS_add_key, "user", a[0], a[1], strlen(a[1]), KEY_SPEC_SESSION_KEYRING),
          "add_key");
}

const struct kind kernel[] = {
    {"rules", 0, rules}, {"other-network", 1, other_network}, {"other-mounts", 1, other_mounts},
    {"unmounted", 1, unmounted}, {"never-mounted", 1, never_mounted}, {"bpf-map", 1, bpf_map},
    {"key", 1, keyring}, {NULL, 0, NULL},
};
