/* A tiny file system for tests of a full disk, in a mount namespace of the test's own. */
#pragma once

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mount.h>

/* False without the right to mount: then such a test shows nothing. */
static inline bool tmpfs_mount(const char *dir, unsigned kib)
{
    char opts[40];
    snprintf(opts, sizeof(opts), "size=%uk", kib);
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", dir, "tmpfs", 0, opts) == 0;
}
