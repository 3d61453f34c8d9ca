/* http_pages: what a node shows over HTTP: metrics and health. Only the texts: the server that carries them is started by the
 * program (cli/server.c), which hands it these pages.
 *
 * Shape:     a const table: path, content type, and a function that makes the body and says the status.
 *            /health/live: 200 as long as the process answers; /health/ready: 200 while the broker serves its partitions, else
 *            503, and a JSON body with what it waits for; /metrics: Prometheus text.
 * Threads:   the pages run on the broker's home loop.
 * Source:    design.md 10.
 */
#ifndef BROKER_HTTP_PAGES_H
#define BROKER_HTTP_PAGES_H

#include "common/bytebuf.h"

struct broker;

/* Fills the body; returns the HTTP status. */
typedef unsigned (*http_page_fn)(struct broker *broker, struct bytebuf *ret_body);

struct http_page {
    const char *path;
    const char *content_type;
    http_page_fn render;
};

const struct http_page *http_pages(size_t *ret_count);

#endif
