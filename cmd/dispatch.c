#include "cmd/dispatch.h"

#include <google/protobuf-c/protobuf-c.h>
#include <stdio.h>
#include <stdlib.h>

#include <ares.h>
#include <event2/event.h>
#include <jansson.h>
#include <nghttp2/nghttp2.h>
#include <openssl/crypto.h>
#include <yaml.h>

#include "cmd/roles.h"
#include "lib/base/mem.h"

#define EXIT_USAGE 2
#define TEXT_MAX   (256 * 1024)
#define PLUGIN     "mesh-cni"

static int print(const struct strbuf *text)
{
    fwrite(text->p, 1, text->n, stdout);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void help_text(struct strbuf *out)
{
    strbuf_addz(out, "mesh " MESH_VERSION ": a sidecarless service mesh in one binary\n\n"
                     "Usage: mesh ROLE [--flag VALUE]...\n\nRoles:\n");
    for (const struct role *const *r = roles; *r; r++)
        strbuf_printf(out, "  %-12s %s\n", (*r)->name, (*r)->help);
    strbuf_addz(out, "\n  help         this text; mesh ROLE --help has the role's flags,\n"
                     "               mesh help --reference all roles' flags as Markdown\n"
                     "  version      this program's version and its libraries'\n");
}

static int help(void)
{
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, TEXT_MAX);
    help_text(&out);
    return print(&out);
}

static int role_help(const struct role *r)
{
    struct strbuf out AUTO_STRBUF, usage AUTO_STRBUF;
    strbuf_init(&out, TEXT_MAX);
    strbuf_init(&usage, 100);
    strbuf_printf(&usage, "mesh %s", r->name);
    config_help(r->settings, usage.p, r->about, &out);
    return print(&out);
}

/* The settings of all roles and the ways a connection can end, for the reference page. */
static int reference(void)
{
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, TEXT_MAX);
    strbuf_addz(&out, "# Settings\n");
    for (const struct role *const *r = roles; *r; r++) {
        strbuf_printf(&out, "\n## mesh %s\n\n%s\n\n", (*r)->name, (*r)->about);
        config_markdown((*r)->settings, &out);
    }
    strbuf_addz(&out, "\n# How a connection ends\n\n| Result | Meaning | Response flag | CONNECT "
                      "status |\n|---|---|---|---|\n");
    for (int rc = 0; rc < RC_COUNT; rc++)
        strbuf_printf(&out, "| `%s` | %s | `%s` | %d |\n", rc_name((enum rc)rc),
                      rc_text((enum rc)rc), rc_flag((enum rc)rc), rc_status((enum rc)rc));
    return print(&out);
}

static int version(void)
{
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, TEXT_MAX);
    strbuf_printf(&out, "mesh %s\n", MESH_VERSION);
    strbuf_printf(&out, "OpenSSL %s\n", OpenSSL_version(OPENSSL_VERSION_STRING));
    strbuf_printf(&out, "libevent %s\n", event_get_version());
    strbuf_printf(&out, "nghttp2 %s\n", nghttp2_version(0)->version_str);
    strbuf_printf(&out, "libyaml %s\n", yaml_get_version_string());
    strbuf_printf(&out, "jansson %s\n", jansson_version_str());
    strbuf_printf(&out, "protobuf-c %s\n", protobuf_c_version());
    strbuf_printf(&out, "c-ares %s\n", ares_version(NULL));
    return print(&out);
}

static int unknown_word(struct str word)
{
    const char *words[64];
    size_t n = 0;
    for (const struct role *const *r = roles; *r && n < ARRAY_LEN(words) - 2; r++)
        words[n++] = (*r)->name;
    words[n++] = "help";
    words[n++] = "version";
    const char *near = str_nearest(word, words, n);
    fprintf(stderr, "mesh: there is no role \"%.*s\"", (int)MIN(word.n, (size_t)100), word.p);
    if (near)
        fprintf(stderr, ", did you mean \"mesh %s\"?\n", near);
    else
        fprintf(stderr, "; see mesh help\n");
    return EXIT_USAGE;
}

/* The runtime executes the plug-in without arguments, under its installed name or with the
 * protocol's variable set. */
static bool is_plugin(int argc, const char *const argv[])
{
    const char *name = argc > 0 ? argv[0] : "", *slash = strrchr(name, '/');
    return strcmp(slash ? slash + 1 : name, PLUGIN) == 0 || (argc <= 1 && getenv("CNI_COMMAND"));
}

static bool is_flag(const char *arg)
{
    return arg[0] == '-';
}

/* Does a role of two words start with this one? */
static bool is_first_word(struct str word)
{
    for (const struct role *const *r = roles; *r; r++) {
        struct str rest, first = str_split(str_of((*r)->name), ' ', &rest);
        if (rest.n && str_eq(first, word))
            return true;
    }
    return false;
}

static int role_run(const struct role *r, int argc, const char *const argv[])
{
    if (config_wants_help(argc, argv))
        return role_help(r);
    return r->main(argc, argv);
}

static int by_words(int argc, const char *const argv[])
{
    struct str word = str_of(argv[0]);
    if (argc > 1 && !is_flag(argv[1]) && is_first_word(word)) {
        char *two AUTO_FREE = mem_printf("%s %s", argv[0], argv[1]);
        const struct role *r = role_find(str_of(two));
        return r ? role_run(r, argc - 2, argv + 2) : unknown_word(str_of(two));
    }
    const struct role *r = role_find(word);
    return r ? role_run(r, argc - 1, argv + 1) : unknown_word(word);
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

int dispatch(int argc, const char *const argv[])
{
    if (is_plugin(argc, argv)) {
        const struct role *r = role_find(STR("cni"));
        return r ? r->main(0, NULL) : unknown_word(STR("cni"));
    }
    if (argc < 2) {
        struct strbuf out AUTO_STRBUF;
        strbuf_init(&out, TEXT_MAX);
        help_text(&out);
        fprintf(stderr, "%s", out.p);
        return EXIT_USAGE;
    }
    if (is_one_of(argv[1], "version", "--version", "-V"))
        return version();
    if (!is_one_of(argv[1], "help", "--help", "-h"))
        return by_words(argc - 1, argv + 1);
    if (argc == 2)
        return help();
    if (strcmp(argv[2], "--reference") == 0)
        return reference();
    struct strbuf words AUTO_STRBUF;
    strbuf_init(&words, 256);
    for (int i = 2; i < argc; i++)
        strbuf_printf(&words, "%s%s", i > 2 ? " " : "", argv[i]);
    const struct role *r = role_find(strbuf_str(&words));
    return r ? role_help(r) : unknown_word(strbuf_str(&words));
}
