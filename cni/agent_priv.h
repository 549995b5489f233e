/* What agent.c (the plug-in's requests, the source, life) and capture.c (one attachment on its way into the mesh
 * and out of it) share; for nobody else. */
#pragma once

#include "cni/agent.h"
#include "cni/pods.h"
#include "cni/rules.h"
#include "lib/zds/zds_server.h"

enum capture_state {
    CAPTURE_OUT,     /* not captured */
    CAPTURE_PENDING, /* rules are there; the ztunnel has not said yes */
    CAPTURE_IN,
};

struct capture {
    struct list node; /* agent->captures */
    struct agent *agent;
    struct attachment *a; /* owned */
    int netns;            /* held while the attachment exists; -1: not at hand */
    enum capture_state state;
    bool adding;     /* the ztunnel is asked */
    bool superseded; /* a younger sandbox of the same pod has its place */
    bool
        named; /* the path led to the namespace: when it does not any more, that is the end of it */
    struct rules_opts rules;
    char uid[256];     /* as the ztunnel knows it */
    char sa[256];      /* empty: not known since the restart */
    struct list calls; /* agent_call: ADDs that wait for the ztunnel */
};

struct door;

struct agent {
    struct loop *loop;
    struct agent_opts o;
    struct pods *pods;
    struct zds_server *zds;
    struct door *door;
    struct list captures, waiting; /* waiting: agent_call, ADDs of pods the source has not told */
    struct loop_timer verify;
    char *away; /* the list as it was last written */
    bool open;  /* the sockets are there */
};

/* -- capture.c -- */
/* netns is taken. */
struct capture *capture_new(struct agent *g, const struct attachment *a, int netns);
/* Forgets it; nothing is taken away from kernel or ztunnel. Waiting calls are answered with why. */
void capture_free(struct capture *c, const char *why);
struct capture *capture_find(const struct agent *g, struct str container, struct str ifname);
/* Another attachment of the same namespace that has the rules. */
struct capture *capture_sibling(const struct capture *c);
/* Takes from the source what the ztunnel has to know; the pod's uid is remembered with the attachment. */
void capture_learn(struct capture *c, const struct kpod *p);
/* Rules, file, ztunnel. A failure of the first two leaves it out; code and text say what failed. */
NODISCARD enum cni_code capture_begin(struct capture *c, const struct kpod *p, struct errmsg *msg);
void capture_announce(struct capture *c); /* asks the ztunnel, once at a time */
void capture_end(struct capture *c); /* the pod goes on without us: rules first, then the ztunnel */
/* Before it goes: another interface of the same pod takes over rules and ztunnel. False: there is none. */
bool capture_hand_over(struct capture *c);
/* Kernel and path against what is intended. False: the namespace is gone, and c with it. */
bool capture_verify(struct capture *c);
void capture_each_pod(void *agent, void (*add)(void *arg, const struct zds_request *r, int netns),
                      void *arg);
void capture_announced(void *agent, struct str uid, const char *error);
/* After a restart: every attachment that was remembered. */
void capture_load(struct agent *g);
void capture_count(const struct agent *g); /* the gauges */

/* -- agent.c -- */
/* The pod as the source has it now; NULL when absent or when it is another of the same name. */
const struct kpod *agent_pod_of(const struct agent *g, const struct attachment *a);
void agent_answer(struct agent_call *c, enum cni_code code, bool captured, const char *msg);
