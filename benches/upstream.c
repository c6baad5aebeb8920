/* A minimal upstream for measuring proxies: epoll, keep-alive, one thread, no parsing beyond the end of a head.
 *
 *     cc -O2 upstream.c -o upstream && ./upstream PORT
 *
 * GET /1m answers 1 MiB, everything else 65 bytes. It must cost so little that the proxy before it is the bottleneck;
 * it is no HTTP server: it expects each request head to arrive in one piece and without a body.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FDS = 65536, SMALL = 65, LARGE = 1 << 20, MAX_EVENTS = 256 };

struct answer {
    char *bytes;
    size_t length;
};

/* What is left to write on a connection; NULL when it waits for a request. */
static struct {
    const char *next;
    size_t left;
} pending[MAX_FDS];

static struct answer make_answer(size_t body) {
    struct answer answer;
    answer.bytes = malloc(body + 256);
    if (answer.bytes == NULL) {
        perror("malloc");
        exit(1);
    }
    int head = sprintf(answer.bytes,
                       "HTTP/1.1 200 OK\r\nServer: up\r\nContent-Type: text/html; charset=utf-8\r\n"
                       "Content-Length: %zu\r\n\r\n",
                       body);
    memset(answer.bytes + head, 'x', body);
    answer.length = (size_t)head + body;
    return answer;
}

static void watch(int epoll, int operation, int fd, unsigned events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(epoll, operation, fd, &event);
}

static void accept_all(int epoll, int listener) {
    int one = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FDS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pending[fd].next = NULL;
        watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

static void flush(int epoll, int fd) {
    ssize_t sent = write(fd, pending[fd].next, pending[fd].left);
    if (sent < 0) {
        if (errno == EAGAIN)
            watch(epoll, EPOLL_CTL_MOD, fd, EPOLLOUT);
        else
            close(fd);
        return;
    }
    pending[fd].next += sent;
    pending[fd].left -= (size_t)sent;
    if (pending[fd].left == 0) {
        pending[fd].next = NULL;
    } else {
        watch(epoll, EPOLL_CTL_MOD, fd, EPOLLOUT);
    }
}

static void serve(int epoll, int fd, unsigned events, const struct answer *small, const struct answer *large) {
    static char request[65536];
    if (pending[fd].next != NULL) {
        flush(epoll, fd);
        if (pending[fd].next == NULL) watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN);
        return;
    }
    ssize_t got = read(fd, request, sizeof request);
    if (got <= 0 || (events & EPOLLERR)) {
        close(fd);
        return;
    }
    const struct answer *answer = got > 7 && memcmp(request, "GET /1m", 7) == 0 ? large : small;
    pending[fd].next = answer->bytes;
    pending[fd].left = answer->length;
    flush(epoll, fd);
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: %s PORT\n", arguments[0]);
        return 2;
    }
    struct answer small = make_answer(SMALL), large = make_answer(LARGE);
    signal(SIGPIPE, SIG_IGN); /* a proxy hangs up in mid-body at the end of each round */
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((unsigned short)atoi(arguments[1])),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4096) != 0) {
        perror("upstream: listen");
        return 1;
    }
    int epoll = epoll_create1(0);
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN);
    struct epoll_event events[MAX_EVENTS];
    for (;;) {
        int ready = epoll_wait(epoll, events, MAX_EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                serve(epoll, events[i].data.fd, events[i].events, &small, &large);
        }
    }
}
