/* lib/kube by hand: commands on standard input, what happens on standard output, a line each. For tests and for
 * trying things against a real API server.
 *
 *   kube_tool KUBECONFIG          or in a pod: kube_tool in-cluster [FOLDER]
 *   informer ID KIND [NS|*] [QUERY]   → ID + NS/NAME UID, ID ~ NS/NAME UID, ID - NS/NAME UID, ID synced COUNT,
 *                                       ID problem NS/NAME: TEXT, ID cleared NS/NAME, ID state TEXT
 *   dump ID                           → ID = OBJECT for each, ID end COUNT BYTES
 *   quiet                             → no + ~ - from now on
 *   stop ID
 *   get|delete GROUP VERSION PLURAL NS NAME
 *   create|replace|apply|force|merge|json GROUP VERSION PLURAL NS NAME[/SUBRESOURCE] BODY
 *                                     → reply RC STATUS REASON NAME VERSION ERROR; "-" stands for an empty word
 *   lease ID NS NAME IDENTITY MS MS MS → ID gained, ID lost WHY; release ID → ID released
 *   review TOKEN AUDIENCE             → review RC NS/ACCOUNT POD USERNAME ERROR */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/must.h"
#include "lib/codec/node.h"
#include "lib/kube/informer.h"
#include "lib/kube/kube_object.h"
#include "lib/kube/lease.h"
#include "lib/kube/token_review.h"

#define LINE_MAX_BYTES (4u << 20)
#define WORDS          9
#define THINGS         32

struct thing { /* an informer or a lease */
    char id[32];
    struct informer *informer;
    struct lease *lease;
    size_t bytes;
};

static struct kube *kube;
static struct kube_crds *crds;
static struct thing things[THINGS];
static struct loop *loop;
static struct loop_fd input;
static struct strbuf line;
static bool quiet;

static const char *word_of(struct str s)
{
    static char text[4][300];
    static unsigned at;
    char *to = text[at++ % 4];
    snprintf(to, sizeof(text[0]), "%.*s", STR_ARG(s));
    return s.n ? to : "-";
}

static struct thing *thing_of(const char *id)
{
    for (size_t i = 0; i < THINGS; i++)
        if (strcmp(things[i].id, id) == 0)
            return &things[i];
    fprintf(stderr, "there is no \"%s\"\n", id);
    exit(2);
}

static struct thing *thing_new(const char *id)
{
    struct thing *t = thing_of("");
    snprintf(t->id, sizeof(t->id), "%s", id);
    return t;
}

/* -- informers -- */

static void on_change(void *owner, struct kobj *old, struct kobj *now)
{
    const struct thing *t = owner;
    const struct kobj *o = now ? now : old;
    if (!quiet)
        printf("%s %c %s/%s %s\n", t->id,
               !old  ? '+'
               : now ? '~'
                     : '-',
               word_of(o->meta.ns), word_of(o->meta.name), word_of(o->meta.uid));
}

static void on_synced(void *owner)
{
    const struct thing *t = owner;
    printf("%s synced %zu\n", t->id, informer_count(t->informer));
}

static void on_problem(void *owner, const struct kobj_id *id, const char *text)
{
    const struct thing *t = owner;
    printf("%s %s %s/%s%s%s\n", t->id, text ? "problem" : "cleared", word_of(id->ns),
           word_of(id->name), text ? ": " : "", text ? text : "");
}

static void on_state(void *owner, const char *problem)
{
    const struct thing *t = owner;
    printf("%s state %s\n", t->id, problem ? problem : "ok");
}

static const struct informer_ops informer_ops = {
    .on_change = on_change, .on_synced = on_synced, .on_problem = on_problem, .on_state = on_state};

static enum kobj_kind kind_of(const char *name)
{
    for (int k = 0; k < KOBJ_KINDS; k++)
        if (strcmp(kobj_kind_name((enum kobj_kind)k), name) == 0)
            return (enum kobj_kind)k;
    fprintf(stderr, "there is no kind \"%s\"\n", name);
    exit(2);
}

static void start_informer(char **w, size_t n)
{
    struct informer_opts o = {.kind = kind_of(w[2]),
                              .ns = n > 3 && strcmp(w[3], "*") != 0 ? w[3] : NULL,
                              .query = n > 4 ? w[4] : NULL,
                              .crds = crds};
    struct thing *t = thing_new(w[1]);
    t->informer = informer_new(kube, &o, &informer_ops, t);
}

static void dump_one(void *owner, struct kobj *o)
{
    struct thing *t = owner;
    struct strbuf out AUTO_STRBUF;
    t->bytes += o->size;
    strbuf_init(&out, LINE_MAX_BYTES);
    kobj_encode(o, &out);
    printf("%s = %s\n", t->id, out.p);
}

static void dump(char **w, size_t n)
{
    (void)n;
    struct thing *t = thing_of(w[1]);
    t->bytes = 0;
    informer_each(t->informer, dump_one, t);
    printf("%s end %zu %zu\n", t->id, informer_count(t->informer), t->bytes);
}

static void stop(char **w, size_t n)
{
    (void)n;
    struct thing *t = thing_of(w[1]);
    informer_free(t->informer);
    lease_free(t->lease);
    memset(t, 0, sizeof(*t));
}

/* -- objects -- */

static void on_reply(void *owner, const struct kube_reply *r)
{
    (void)owner;
    struct str name = node_str(node_path(r->body, "metadata.name"));
    struct str version = node_str(node_path(r->body, "metadata.resourceVersion"));
    printf("reply %s %d %s %s %s %s\n", rc_name(r->rc), r->status, word_of(r->reason),
           word_of(name), word_of(version), r->error);
}

static struct kube_target target_of(char **w)
{
    struct str sub, name = str_split(str_of(w[5]), '/', &sub);
    return (struct kube_target){.group = strcmp(w[1], "-") == 0 ? "" : w[1],
                                .version = w[2],
                                .plural = w[3],
                                .ns = strcmp(w[4], "-") == 0 ? STR("") : str_of(w[4]),
                                .name = str_eqz(name, "-") ? STR("") : name,
                                .subresource = sub.n ? sub.p : NULL};
}

static void object(char **w, size_t n)
{
    static const struct {
        const char *verb;
        enum kube_patch_type type;
    } patches[] = {{"apply", KUBE_APPLY},
                   {"force", KUBE_APPLY_FORCE},
                   {"merge", KUBE_MERGE},
                   {"json", KUBE_JSON}};
    struct kube_target t = target_of(w);
    struct str body = n > 6 ? str_of(w[6]) : STR("");
    const char *manager = "kube-tool";
    if (strcmp(w[0], "get") == 0)
        kube_get(kube, &t, on_reply, NULL);
    if (strcmp(w[0], "delete") == 0)
        kube_delete(kube, &t, body, on_reply, NULL);
    if (strcmp(w[0], "create") == 0)
        kube_create(kube, &t, body, manager, on_reply, NULL);
    if (strcmp(w[0], "replace") == 0)
        kube_replace(kube, &t, body, manager, on_reply, NULL);
    for (size_t i = 0; i < ARRAY_LEN(patches); i++)
        if (strcmp(w[0], patches[i].verb) == 0)
            kube_patch(kube, &t, patches[i].type, body, manager, on_reply, NULL);
}

/* -- leases, tokens -- */

static void on_gained(void *owner)
{
    const struct thing *t = owner;
    printf("%s gained\n", t->id);
}

static void on_lost(void *owner, const char *why)
{
    const struct thing *t = owner;
    printf("%s lost %s\n", t->id, why);
}

static void on_released(void *owner)
{
    struct thing *t = owner;
    printf("%s released\n", t->id);
    lease_free(t->lease);
    memset(t, 0, sizeof(*t));
}

static const struct lease_ops lease_ops = {
    .on_gained = on_gained, .on_lost = on_lost, .on_released = on_released};

static void start_lease(char **w, size_t n)
{
    struct lease_opts o = {.ns = w[2], .name = w[3], .identity = w[4]};
    if (n > 7) {
        o.duration_ms = strtol(w[5], NULL, 10);
        o.renew_ms = strtol(w[6], NULL, 10);
        o.retry_ms = strtol(w[7], NULL, 10);
    }
    struct thing *t = thing_new(w[1]);
    t->lease = lease_new(kube, &o, &lease_ops, t);
}

static void release(char **w, size_t n)
{
    (void)n;
    lease_release(thing_of(w[1])->lease);
}

static void on_review(void *owner, const struct token_identity *id)
{
    (void)owner;
    printf("review %s %s/%s %s %s %s\n", rc_name(id->rc), word_of(id->ns), word_of(id->account),
           word_of(id->pod_name), word_of(id->username), id->error);
}

static void review(char **w, size_t n)
{
    (void)n;
    const char *audience = w[2];
    token_review_new(kube, str_of(strcmp(w[1], "-") == 0 ? "" : w[1]), &audience, 1, on_review,
                     NULL);
}

static void be_quiet(char **w, size_t n)
{
    (void)w;
    (void)n;
    quiet = true;
}

/* -- commands -- */

static const struct {
    const char *verb;
    size_t words, max; /* the last takes the rest of the line */
    void (*fn)(char **w, size_t n);
} commands[] = {
    {"informer", 3, 5, start_informer},
    {"dump", 2, 2, dump},
    {"stop", 2, 2, stop},
    {"quiet", 1, 1, be_quiet},
    {"get", 6, 6, object},
    {"delete", 6, 7, object},
    {"create", 7, 7, object},
    {"replace", 7, 7, object},
    {"apply", 7, 7, object},
    {"force", 7, 7, object},
    {"merge", 7, 7, object},
    {"json", 7, 7, object},
    {"lease", 5, 8, start_lease},
    {"release", 2, 2, release},
    {"review", 3, 3, review},
};

static void run(char *text)
{
    char *w[WORDS] = {NULL}, *at = text;
    size_t n = 0, c = 0;
    size_t verb = strcspn(text, " ");
    while (c < ARRAY_LEN(commands) &&
           (strlen(commands[c].verb) != verb || strncmp(commands[c].verb, text, verb) != 0))
        c++;
    if (c == ARRAY_LEN(commands)) {
        fprintf(stderr, "unknown command: %s\n", text);
        exit(2);
    }
    while (at && *at && n < commands[c].max) {
        w[n++] = at;
        at = n < commands[c].max ? strchr(at, ' ') : NULL;
        if (at)
            *at++ = '\0';
    }
    if (n < commands[c].words) {
        fprintf(stderr, "%s: too few words\n", w[0]);
        exit(2);
    }
    commands[c].fn(w, n);
}

static void on_input(void *owner, unsigned ready)
{
    (void)owner;
    (void)ready;
    char part[16384];
    ssize_t n = read(STDIN_FILENO, part, sizeof(part));
    if (n <= 0) {
        loop_stop(loop);
        return;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (part[i] != '\n') {
            strbuf_addc(&line, part[i]);
            continue;
        }
        if (line.n)
            run(line.p);
        strbuf_reset(&line);
    }
}

static void on_crds_state(void *owner, const char *problem)
{
    (void)owner;
    printf("crds state %s\n", problem ? problem : "ok");
}

int main(int argc, char **argv)
{
    struct kube_config *config = NULL;
    struct errmsg why = {""};
    enum rc rc = RC_INVALID;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc >= 2 && strcmp(argv[1], "in-cluster") == 0)
        rc = kube_config_in_cluster(argc > 2 ? argv[2] : NULL, &config, &why);
    else if (argc == 2)
        rc = kube_config_load(argv[1], NULL, &config, &why);
    if (rc != RC_OK) {
        fprintf(stderr, "kube_tool: %s\n", why.text);
        return 2;
    }
    loop = loop_new();
    kube = kube_new(loop, config, "kube-tool");
    crds = kube_crds_new(kube, on_crds_state, NULL);
    strbuf_init(&line, LINE_MAX_BYTES);
    MUST(loop_fd_open(&input, loop, STDIN_FILENO, LOOP_READ | LOOP_LEVEL, on_input, NULL) == RC_OK);
    loop_run(loop);
    loop_fd_close(&input);
    for (size_t i = 0; i < THINGS; i++) {
        informer_free(things[i].informer);
        lease_free(things[i].lease);
    }
    kube_crds_free(crds);
    kube_free(kube);
    loop_free(loop);
    strbuf_fini(&line);
    return 0;
}
