/* The HTTP server against raw requests: routes, guards, and the limits that keep a hostile client from holding it. */
#include "common/mem.h"
#include "common/posix/http_guard.h"
#include "common/posix/http_server.h"
#include "tests/unit/common/posix_support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define ANSWER_BYTES 4096
#define ANSWERS_MAX 24

/* The client thread only talks; the test's thread runs the server and judges afterwards. */
struct http_test {
    struct world world;
    struct http_server *server;
    uint16_t port;
    const char *const *requests;
    size_t request_count;
    char answers[ANSWERS_MAX][ANSWER_BYTES];
    unsigned descriptors_before;
    unsigned descriptors_most; /* seen by a handler */
    void *(*client)(void *ctx);
};

static void count_entry(void *ctx, const char *name)
{
    (void)name;
    (*(unsigned *)ctx)++;
}

static unsigned descriptors_open(struct http_test *test)
{
    unsigned count = 0;
    CHECK(fs_list(test->world.env->fs, "/proc/self/fd", count_entry, &count) == ERR_OK);
    return count;
}

static void answer_hello(void *ctx, const struct http_request *request, struct http_response *response)
{
    struct http_test *test = ctx;
    unsigned open_count = descriptors_open(test);
    test->descriptors_most = open_count > test->descriptors_most ? open_count : test->descriptors_most;
    const char *wanted = http_request_header(request, "x-wanted");
    response->status = wanted == NULL ? 200 : 418;
    response->content_type = "application/json";
    CHECK(bytebuf_append_format(&response->body,
                                "{\"method\":\"%s\",\"path\":\"%s\",\"query\":\"%s\",\"peer\":\"%s\",\"body\":\"",
                                request->method, request->path, request->query, request->peer.host) == ERR_OK);
    CHECK(bytebuf_append(&response->body, request->body) == ERR_OK);
    CHECK(bytebuf_append(&response->body, span_text("\"}")) == ERR_OK);
}

static int client_connect(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

/* Reads until the server closes. */
static void read_answer(int fd, char ret_answer[ANSWER_BYTES])
{
    size_t bytes = 0;
    ssize_t count = 0;
    while (bytes < ANSWER_BYTES - 1 && (count = recv(fd, ret_answer + bytes, ANSWER_BYTES - 1 - bytes, 0)) > 0) {
        bytes += (size_t)count;
    }
    ret_answer[bytes] = '\0';
}

static void *client_ask_all(void *ctx)
{
    struct http_test *test = ctx;
    for (size_t i = 0; i < test->request_count; i++) {
        int fd = client_connect(test->port);
        (void)send(fd, test->requests[i], strlen(test->requests[i]), MSG_NOSIGNAL);
        read_answer(fd, test->answers[i]);
        close(fd);
    }
    loop_stop(test->world.loop);
    return NULL;
}

static const char *const test_hosts[] = {"moldau.example"};

static void http_test_run(struct http_test *test, size_t connections_max, uint64_t connection_us_max)
{
    const struct http_route routes[] = {
        {"GET", "/hello", answer_hello, test},
        {"POST", "/hello", answer_hello, test},
        {"GET", "/tree/", answer_hello, test},
        {"GET", "/", answer_hello, test},
    };
    struct http_server_options options = {
        .host = "127.0.0.1",
        .hosts = test_hosts,
        .host_count = ARRAY_COUNT(test_hosts),
        .routes = routes,
        .route_count = ARRAY_COUNT(routes),
        .header_bytes_max = 2000,
        .body_bytes_max = 100,
        .connections_max = connections_max,
        .connection_us_max = connection_us_max,
    };
    world_start(&test->world);
    logger_set_level(test->world.env->logger, LOG_ERROR);
    assert_int_equal(http_server_start(test->world.loop, test->world.env->logger, &options, &test->server), ERR_OK);
    struct net_address address;
    http_server_address(test->server, &address);
    test->port = address.port;
    assert_string_equal(address.host, "127.0.0.1");
    struct http_server *second = NULL;
    options.port = address.port;
    assert_int_equal(http_server_start(test->world.loop, test->world.env->logger, &options, &second),
                     ERR_ADDRESS_IN_USE);
    test->descriptors_before = descriptors_open(test);
    pthread_t client;
    assert_int_equal(pthread_create(&client, NULL, test->client, test), 0);
    world_run(&test->world);
    assert_int_equal(pthread_join(client, NULL), 0);
    http_server_stop(test->server);
    world_end(&test->world);
}

struct exchange {
    const char *request;
    const char *first_line;
    const char *contains; /* in the answer */
};

#define CLOSE "Connection: close\r\n\r\n"
#define LOCAL "Host: localhost:8080\r\n"

static const struct exchange exchanges[] = {
    {"GET /hello?a=b%20c HTTP/1.1\r\n" LOCAL CLOSE, "HTTP/1.1 200 OK",
     "{\"method\":\"GET\",\"path\":\"/hello\",\"query\":\"a=b%20c\",\"peer\":\"127.0.0.1\",\"body\":\"\"}"},
    {"GET /hello HTTP/1.1\r\n" LOCAL "X-Wanted: 1\r\n" CLOSE, "HTTP/1.1 418", "Content-Type: application/json\r\n"},
    {"HEAD /hello HTTP/1.1\r\n" LOCAL CLOSE, "HTTP/1.1 200 OK", "Content-Length: 72\r\n"},
    {"GET /tree/a/b%2Fc HTTP/1.1\r\nHost: 127.0.0.1\r\n" CLOSE, "HTTP/1.1 200 OK", "\"path\":\"/tree/a/b/c\""},
    {"GET / HTTP/1.1\r\nHost: [::1]:80\r\n" CLOSE, "HTTP/1.1 200 OK", "\"path\":\"/\""},
    {"GET / HTTP/1.1\r\nHost: Moldau.Example:80\r\n" CLOSE, "HTTP/1.1 200 OK", "X-Content-Type-Options: nosniff\r\n"},
    {"GET /nothing HTTP/1.1\r\n" LOCAL CLOSE, "HTTP/1.1 404 Not Found", "404 there is nothing at this path\n"},
    {"GET /nothing HTTP/1.1\r\n" LOCAL "Accept: application/json\r\n" CLOSE, "HTTP/1.1 404 Not Found",
     "{\"error_code\":404,\"message\":\"there is nothing at this path\"}"},
    {"DELETE /hello HTTP/1.1\r\n" LOCAL CLOSE, "HTTP/1.1 405 Method Not Allowed", "Allow: GET, HEAD, POST\r\n"},
    {"GET / HTTP/1.1\r\nHost: evil.example\r\n" CLOSE, "HTTP/1.1 403 Forbidden", "not called by that name"},
    {"GET / HTTP/1.1\r\n" CLOSE, "HTTP/1.1 403 Forbidden", "not called by that name"},
    {"GET http://evil.example/ HTTP/1.1\r\n" LOCAL CLOSE, "HTTP/1.1 403 Forbidden", "not called by that name"},
    {"POST /hello HTTP/1.1\r\n" LOCAL "Content-Length: 5\r\n" CLOSE "12345", "HTTP/1.1 200 OK", "\"body\":\"12345\"}"},
    {"POST /hello HTTP/1.1\r\n" LOCAL "Origin: http://localhost:8080\r\nContent-Length: 0\r\n" CLOSE, "HTTP/1.1 200 OK",
     "\"method\":\"POST\""},
    {"POST /hello HTTP/1.1\r\n" LOCAL "Origin: http://evil.example\r\nContent-Length: 0\r\n" CLOSE,
     "HTTP/1.1 403 Forbidden", "own pages"},
    {"POST /hello HTTP/1.1\r\n" LOCAL "Origin: null\r\nContent-Length: 0\r\n" CLOSE, "HTTP/1.1 403 Forbidden",
     "own pages"},
    {"POST /hello HTTP/1.1\r\n" LOCAL "Content-Length: 101\r\n" CLOSE, "HTTP/1.1 413", ""},
    {"GET /%00 HTTP/1.1\r\n" LOCAL CLOSE, "HTTP/1.1 400", "zero byte"},
    {"BREW /hello HTTP/1.1\r\n" LOCAL CLOSE, "HTTP/1.1 501", ""},
    {"\x16\x03\x01\x02\x01\x01\r\n\r\n", "", ""}, /* TLS: whatever the answer, it ends */
};

static void requests_get_their_answers(void **state)
{
    (void)state;
    struct http_test *test = MEM_NEW(struct http_test);
    const char *requests[ARRAY_COUNT(exchanges)];
    for (size_t i = 0; i < ARRAY_COUNT(exchanges); i++) {
        requests[i] = exchanges[i].request;
    }
    test->client = client_ask_all;
    test->requests = requests;
    test->request_count = ARRAY_COUNT(exchanges);
    http_test_run(test, 0, 0);
    for (size_t i = 0; i < ARRAY_COUNT(exchanges); i++) {
        if (strncmp(test->answers[i], exchanges[i].first_line, strlen(exchanges[i].first_line)) != 0 ||
            strstr(test->answers[i], exchanges[i].contains) == NULL) {
            fail_msg("request:\n%s\nanswer:\n%s\nexpected: %s ... %s", exchanges[i].request, test->answers[i],
                     exchanges[i].first_line, exchanges[i].contains);
        }
    }
    assert_string_equal(strstr(test->answers[2], "\r\n\r\n"), "\r\n\r\n"); /* HEAD has no body */
    mem_free(test);
}

static void *client_sends_endless_headers(void *ctx)
{
    struct http_test *test = ctx;
    static const char line[] = "X-Long: 0123456789012345678901234567890123456789\r\n";
    int fd = client_connect(test->port);
    (void)send(fd, "GET / HTTP/1.1\r\n" LOCAL, 16 + strlen(LOCAL), MSG_NOSIGNAL);
    for (int i = 0; i < 1000 && send(fd, line, sizeof(line) - 1, MSG_NOSIGNAL) > 0; i++) {
    }
    read_answer(fd, test->answers[0]);
    close(fd);
    loop_stop(test->world.loop);
    return NULL;
}

static void headers_are_capped(void **state)
{
    (void)state;
    struct http_test *test = MEM_NEW(struct http_test);
    test->client = client_sends_endless_headers;
    http_test_run(test, 0, 0);
    assert_null(strstr(test->answers[0], "200 OK"));
    mem_free(test);
}

#define CROWD 12
#define CROWD_ALLOWED 4

/* More connections than allowed, all idle: the first ones hold the server until their time is over, then the others get
 * their turn; no connection is lost. */
static void *client_crowd(void *ctx)
{
    struct http_test *test = ctx;
    static const char request[] = "GET / HTTP/1.1\r\n" LOCAL "\r\n";
    int fds[CROWD];
    for (size_t i = 0; i < CROWD; i++) {
        fds[i] = client_connect(test->port);
        (void)send(fds[i], request, sizeof(request) - 1, MSG_NOSIGNAL);
    }
    for (size_t i = 0; i < CROWD; i++) {
        read_answer(fds[i], test->answers[i]); /* kept alive by the client, so the end is the server's */
        close(fds[i]);
    }
    loop_stop(test->world.loop);
    return NULL;
}

static void connections_are_capped_in_number_and_time(void **state)
{
    (void)state;
    struct http_test *test = MEM_NEW(struct http_test);
    test->client = client_crowd;
    http_test_run(test, CROWD_ALLOWED, 100000);
    /* Both ends of a connection are in this process: all of the clients', but only the allowed ones of the server. */
    assert_true(test->descriptors_most <= test->descriptors_before + CROWD + CROWD_ALLOWED);
    for (size_t i = 0; i < CROWD; i++) {
        assert_non_null(strstr(test->answers[i], "200 OK"));
    }
    mem_free(test);
}

/* A client that never finishes its request, a byte at a time. */
static void *client_drips(void *ctx)
{
    struct http_test *test = ctx;
    int fd = client_connect(test->port);
    struct pollfd ended = {.fd = fd, .events = POLLIN};
    /* The wait between bytes is the attack itself; it ends when the server does something. */
    while (send(fd, "G", 1, MSG_NOSIGNAL) == 1 && poll(&ended, 1, 20) == 0) {
    }
    read_answer(fd, test->answers[0]);
    close(fd);
    loop_stop(test->world.loop);
    return NULL;
}

static void dripping_client_is_ended(void **state)
{
    (void)state;
    struct http_test *test = MEM_NEW(struct http_test);
    test->client = client_drips;
    http_test_run(test, 0, 200000);
    mem_free(test); /* that the run ended is the proof */
}

static void guard_knows_names(void **state)
{
    (void)state;
    struct http_guard guard;
    http_guard_init(&guard, test_hosts, ARRAY_COUNT(test_hosts));
    static const char *const good[] = {"localhost", "LOCALHOST:1", "10.1.2.3",       "10.1.2.3:80",        "[::1]",
                                       "[::1]:80",  "::1",         "moldau.example", "MOLDAU.example:8080"};
    static const char *const bad[] = {"",
                                      ":80",
                                      "[",
                                      "[::1",
                                      "[::1]x",
                                      "localhost.evil.example",
                                      "10.1.2.3.evil",
                                      "moldau.example:80x",
                                      "moldau.example.",
                                      "xmoldau.example",
                                      "a b"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        assert_true(http_guard_allows_host(&guard, good[i]));
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_false(http_guard_allows_host(&guard, bad[i]));
    }
    assert_false(http_guard_allows_host(&guard, NULL));
    assert_true(http_guard_is_same_origin("a:1", "http://a:1"));
    assert_true(http_guard_is_same_origin("a", "HTTPS://A"));
    assert_false(http_guard_is_same_origin("a:1", "http://a:2"));
    assert_false(http_guard_is_same_origin("a", "null"));
    assert_false(http_guard_is_same_origin(NULL, "http://a"));
    http_guard_done(&guard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_get_their_answers),
        cmocka_unit_test(headers_are_capped),
        cmocka_unit_test(connections_are_capped_in_number_and_time),
        cmocka_unit_test(dripping_client_is_ended),
        cmocka_unit_test(guard_knows_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
