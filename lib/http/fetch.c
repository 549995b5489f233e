#include "lib/http/fetch.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <curl/curl.h>

#include "lib/base/must.h"
#include "lib/base/ref.h"

#define CONNECT_MS      10000
#define USER_TIMEOUT_MS 20000 /* unacknowledged bytes: the server is gone */
#define KEEPALIVE_S     15    /* a server that is gone without a word is noticed within a minute */
#define URL_MAX         8192

struct fetch_tls {
    struct ref ref;
    char *roots, *cert, *key;
    size_t roots_n, cert_n, key_n;
    bool insecure;
};

enum fetch_state {
    FETCH_NEW,     /* waits to be given to libcurl */
    FETCH_RUNNING, /* libcurl has it */
    FETCH_ENDED,   /* on_done is due */
};

struct fetch {
    struct list node; /* of todo, running or ended */
    struct fetcher *f;
    enum fetch_state state;
    const struct fetch_ops *ops;
    void *owner;
    bool cancelled, head_told;
    enum rc body_rc;
    CURLcode code;
    CURL *easy;
    struct curl_slist *headers, *connect_to;
    struct fetch_tls *tls;
    struct strbuf body;
    char error[CURL_ERROR_SIZE];
};

struct fetcher {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer timer;
    struct loop_task
        service; /* adds, removes and ends: libcurl allows none of it in its callbacks */
    struct list todo, running, ended, watches;
    bool inside; /* of libcurl */
};

/* A socket of libcurl's. */
struct watch {
    struct list node;
    struct loop_fd fd;
    struct fetcher *f;
    unsigned events;
};

/* -- trust -- */

static char *copy(struct str s, size_t *ret_n)
{
    *ret_n = s.n;
    return mem_strndup(s.p ? s.p : "", s.n);
}

struct fetch_tls *fetch_tls_new(const struct fetch_tls_opts *o)
{
    struct fetch_tls *t = mem_new(struct fetch_tls);
    ref_init(&t->ref);
    t->roots = copy(o->roots, &t->roots_n);
    t->cert = copy(o->cert, &t->cert_n);
    t->key = copy(o->key, &t->key_n);
    t->insecure = o->insecure;
    return t;
}

struct fetch_tls *fetch_tls_ref(struct fetch_tls *t)
{
    ref_get(&t->ref);
    return t;
}

void fetch_tls_unref(struct fetch_tls *t)
{
    if (!t || !ref_put(&t->ref))
        return;
    explicit_bzero(t->key, t->key_n);
    free(t->roots);
    free(t->cert);
    free(t->key);
    free(t);
}

/* -- the loop under libcurl -- */

static void service_later(struct fetcher *f)
{
    loop_defer(f->loop, &f->service, LOOP_WORK);
}

static void act(struct fetcher *f, curl_socket_t fd, int what)
{
    int running;
    f->inside = true;
    (void)curl_multi_socket_action(f->multi, fd, what, &running);
    f->inside = false;
    service_later(f);
}

static void on_ready(void *owner, unsigned ready)
{
    struct watch *w = owner;
    int what = (ready & LOOP_READ ? CURL_CSELECT_IN : 0) |
               (ready & LOOP_WRITE ? CURL_CSELECT_OUT : 0) |
               (ready & LOOP_HANGUP ? CURL_CSELECT_IN : 0);
    act(w->f, w->fd.fd, what); /* w may be gone */
}

static void watch_free(struct watch *w)
{
    loop_fd_close(&w->fd);
    list_del(&w->node);
    free(w);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *owner, void *socket_owner)
{
    (void)easy;
    struct fetcher *f = owner;
    struct watch *w = socket_owner;
    if (what == CURL_POLL_REMOVE) {
        if (w)
            watch_free(w);
        return 0;
    }
    unsigned events = LOOP_LEVEL | (what & CURL_POLL_IN ? LOOP_READ : 0) |
                      (what & CURL_POLL_OUT ? LOOP_WRITE : 0);
    if (!w) {
        w = mem_new(struct watch);
        w->f = f;
        list_push_back(&f->watches, &w->node);
        curl_multi_assign(f->multi, fd, w);
    } else if (w->events == events) {
        return 0;
    }
    loop_fd_close(&w->fd);
    w->events = events;
    /* out of watches: the request ends by its deadline, streams by keepalive */
    (void)!loop_fd_open(&w->fd, f->loop, fd, events, on_ready, w);
    return 0;
}

static void on_timer(void *owner)
{
    act(owner, CURL_SOCKET_TIMEOUT, 0);
}

static int on_set_timer(CURLM *multi, long in_ms, void *owner)
{
    (void)multi;
    struct fetcher *f = owner;
    if (in_ms < 0)
        loop_timer_clear(&f->timer);
    else
        loop_timer_set(&f->timer, in_ms);
    return 0;
}

static curl_socket_t on_open_socket(void *owner, curlsocktype type, struct curl_sockaddr *a)
{
    (void)owner, (void)type;
    int fd = socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);
    unsigned ms = USER_TIMEOUT_MS;
    if (fd >= 0 && a->socktype == SOCK_STREAM)
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/* -- one request -- */

static void tell_head(struct fetch *t)
{
    long status = 0;
    if (t->head_told)
        return;
    t->head_told = true;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->ops->on_head && status)
        t->ops->on_head(t->owner, t, (int)status);
}

static size_t on_header(char *p, size_t size, size_t n, void *owner)
{
    struct fetch *t = owner;
    struct str line = str_trim((struct str){p, size * n});
    long status = 0;
    if (t->cancelled)
        return 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (line.n == 0 && status >= 200) /* the end of the final head, or of the trailers */
        tell_head(t);
    return t->cancelled ? 0 : size * n;
}

static size_t on_write(char *p, size_t size, size_t n, void *owner)
{
    struct fetch *t = owner;
    struct str part = {p, size * n};
    if (t->cancelled)
        return 0;
    if (t->ops->on_body)
        t->body_rc = t->ops->on_body(t->owner, t, part);
    else
        strbuf_adds(&t->body, part);
    if (t->body.truncated)
        t->body_rc = RC_LIMIT;
    return t->cancelled || t->body_rc != RC_OK ? 0 : part.n;
}

static void set_blob(CURL *e, CURLoption option, char *p, size_t n)
{
    struct curl_blob blob = {.data = p, .len = n, .flags = CURL_BLOB_NOCOPY};
    if (n)
        MUST(curl_easy_setopt(e, option, &blob) == CURLE_OK);
}

static void set_tls(struct fetch *t)
{
    CURL *e = t->easy;
    const struct fetch_tls *s = t->tls;
    curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(e, CURLOPT_CAINFO, NULL);
    curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
    if (!s)
        return;
    set_blob(e, CURLOPT_CAINFO_BLOB, s->roots, s->roots_n);
    set_blob(e, CURLOPT_SSLCERT_BLOB, s->cert, s->cert_n);
    set_blob(e, CURLOPT_SSLKEY_BLOB, s->key, s->key_n);
    if (s->insecure) {
        curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static void set_request(struct fetch *t, const struct fetch_request *r)
{
    CURL *e = t->easy;
    MUST(r->n_headers <= FETCH_HEADERS);
    for (size_t i = 0; i < r->n_headers; i++)
        t->headers = curl_slist_append(t->headers, r->headers[i]);
    t->headers = curl_slist_append(t->headers, "Expect:"); /* bodies are small: no 100-continue */
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers);
    if (r->connect_to) {
        char *entry AUTO_FREE = mem_printf("::%s", r->connect_to);
        t->connect_to = curl_slist_append(NULL, entry);
        curl_easy_setopt(e, CURLOPT_CONNECT_TO, t->connect_to);
    }
    if (r->body.p) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.n);
        curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, r->body.p);
    }
    curl_easy_setopt(e, CURLOPT_NOBODY, strcmp(r->method, "HEAD") == 0 ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, r->method);
    curl_easy_setopt(e, CURLOPT_URL, r->url);
}

static void set_manners(struct fetch *t, const struct fetch_request *r)
{
    CURL *e = t->easy;
    curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 1L);
    curl_easy_setopt(e, CURLOPT_PROXY, ""); /* not even the environment's */
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, t->tls ? "http,https" : "http");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(e, CURLOPT_PIPEWAIT, 1L);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)FETCH_PIECE);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_S);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_S);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(r->connect_ms ? r->connect_ms : CONNECT_MS));
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)r->total_ms);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
}

struct fetch *fetch_start(struct fetcher *f, const struct fetch_request *r,
                          const struct fetch_ops *ops, void *owner)
{
    struct fetch *t = mem_new(struct fetch);
    t->f = f;
    t->ops = ops;
    t->owner = owner;
    t->tls = r->tls ? fetch_tls_ref(r->tls) : NULL;
    strbuf_init(&t->body, r->max_bytes);
    t->easy = curl_easy_init();
    MUST(t->easy && strlen(r->url) < URL_MAX);
    set_manners(t, r);
    set_tls(t);
    set_request(t, r);
    list_push_back(&f->todo, &t->node);
    service_later(f);
    return t;
}

static void fetch_free(struct fetch *t)
{
    list_del(&t->node);
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    curl_slist_free_all(t->connect_to);
    fetch_tls_unref(t->tls);
    strbuf_fini(&t->body);
    free(t);
}

void fetch_cancel(struct fetch *t)
{
    t->cancelled = true;
    service_later(t->f);
}

struct str fetch_header(struct fetch *t, const char *name)
{
    struct curl_header *h = NULL;
    if (curl_easy_header(t->easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
        return (struct str){0};
    if (h->amount > 1)
        (void)curl_easy_header(t->easy, name, h->amount - 1, CURLH_HEADER, -1, &h);
    return str_of(h->value);
}

/* -- ends -- */

static enum rc rc_of_connect(const struct fetch *t)
{
    long err = 0;
    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &err);
    return err == ENETUNREACH || err == EHOSTUNREACH ? RC_UNREACH : RC_REFUSED;
}

static enum rc rc_of(const struct fetch *t)
{
    if (t->body_rc != RC_OK)
        return t->body_rc;
    switch (t->code) {
    case CURLE_OK:                       return RC_OK;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:            return RC_INVALID;
    case CURLE_COULDNT_RESOLVE_HOST:     return RC_NOT_FOUND;
    case CURLE_COULDNT_CONNECT:          return rc_of_connect(t);
    case CURLE_OPERATION_TIMEDOUT:       return RC_TIMEOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:          return RC_CERT;
    case CURLE_SSL_CONNECT_ERROR:        return RC_TLS;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:             return RC_RESET;
    default:                             return RC_IO;
    }
}

/* Bytes of the URL up to its path: the rest is long, and may hold what no log should. */
static int origin_n(const char *url)
{
    const char *host = strstr(url, "://");
    size_t n = host ? (size_t)(host - url) + 3 : 0;
    return (int)MIN(n + strcspn(url + n, "/?#"), 200u);
}

static void deliver(struct fetch *t)
{
    char text[CURL_ERROR_SIZE + 300] = "";
    const char *url = "";
    long status = 0;
    list_del(&t->node); /* on_done may free the fetcher */
    struct fetch_end end = {.rc = rc_of(t), .body = strbuf_str(&t->body), .error = text};
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->easy, CURLINFO_EFFECTIVE_URL, &url);
    if (end.rc == RC_OK &&
        !t->head_told) { /* libcurl takes a head that breaks off for a whole one */
        end.rc = RC_RESET;
        t->code = CURLE_GOT_NOTHING;
    }
    end.status = (int)status;
    if (end.rc == RC_LIMIT && t->body.truncated)
        snprintf(text, sizeof(text), "%.*s: the answer is larger than %zu bytes", origin_n(url),
                 url, t->body.max);
    else if (end.rc != RC_OK)
        snprintf(text, sizeof(text), "%.*s: %s", origin_n(url), url,
                 t->body_rc != RC_OK ? rc_text(t->body_rc)
                 : t->error[0]       ? t->error
                                     : curl_easy_strerror(t->code));
    if (!t->cancelled)
        t->ops->on_done(t->owner, &end);
    fetch_free(t);
}

static void collect_ended(struct fetcher *f)
{
    int left;
    CURLMsg *m;
    while ((m = curl_multi_info_read(f->multi, &left))) {
        struct fetch *t = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        t->code = m->data.result;
        t->state = FETCH_ENDED;
        curl_multi_remove_handle(f->multi, t->easy);
        list_del(&t->node);
        list_push_back(&f->ended, &t->node);
    }
}

static void drop_cancelled(struct fetcher *f)
{
    struct list *lists[] = {&f->todo, &f->running, &f->ended};
    struct fetch *t, *tmp;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        LIST_FOREACH_SAFE (t, tmp, lists[i], node) {
            if (!t->cancelled)
                continue;
            if (t->state == FETCH_RUNNING)
                curl_multi_remove_handle(f->multi, t->easy);
            fetch_free(t);
        }
}

static void start_new(struct fetcher *f)
{
    struct fetch *t;
    while ((t = LIST_FIRST(&f->todo, struct fetch, node))) {
        list_del(&t->node);
        t->state = FETCH_RUNNING;
        list_push_back(&f->running, &t->node);
        MUST(curl_multi_add_handle(f->multi, t->easy) == CURLM_OK);
    }
}

static void service(void *owner)
{
    struct fetcher *f = owner;
    MUST(!f->inside);
    collect_ended(f);
    drop_cancelled(f);
    start_new(f);
    struct fetch *t = LIST_FIRST(&f->ended, struct fetch, node);
    if (!t)
        return;
    service_later(f); /* one at a time: the callback may do anything, free f too */
    deliver(t);
}

/* -- the fetcher -- */

static void init_curl(void)
{
    MUST(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

struct fetcher *fetcher_new(struct loop *l)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    struct fetcher *f = mem_new(struct fetcher);
    f->loop = l;
    f->multi = curl_multi_init();
    MUST(f->multi);
    list_init(&f->todo);
    list_init(&f->running);
    list_init(&f->ended);
    list_init(&f->watches);
    loop_timer_init(&f->timer, l, on_timer, f);
    loop_task_init(&f->service, service, f);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_set_timer);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
    return f;
}

void fetcher_free(struct fetcher *f)
{
    if (!f)
        return;
    MUST(!f->inside);
    struct list *lists[] = {&f->todo, &f->running, &f->ended};
    struct fetch *t, *tmp;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        LIST_FOREACH_SAFE (t, tmp, lists[i], node) {
            if (t->state == FETCH_RUNNING)
                curl_multi_remove_handle(f->multi, t->easy);
            fetch_free(t);
        }
    curl_multi_cleanup(f->multi);
    struct watch *w, *wtmp;
    LIST_FOREACH_SAFE (w, wtmp, &f->watches, node)
        watch_free(w);
    loop_timer_clear(&f->timer);
    loop_task_cancel(&f->service);
    free(f);
}
